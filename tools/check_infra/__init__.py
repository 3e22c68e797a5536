"""Checks of infra/ that need neither a Bicep compiler nor a subscription."""
