"""The building blocks of visionloop: pure stages and the vendors at their edges. Nothing here knows Prefect."""
