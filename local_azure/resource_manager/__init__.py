"""Azure Resource Manager: what every request goes through, and what no provider serves."""
