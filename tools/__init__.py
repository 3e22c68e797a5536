"""What builds and checks the project. Nothing of it runs on Azure."""
