"""The data plane of a registry: what docker, podman and skopeo log in at and pull from."""
