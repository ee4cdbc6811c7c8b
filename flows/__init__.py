"""What happens when: Prefect flows over the components, their schedules, and the `visionloop` command."""
