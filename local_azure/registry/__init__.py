"""The data plane of a registry, for pulls.

Needed by: docker, podman, containerd and skopeo, the device agent's check of its password, and the
demo.
"""
