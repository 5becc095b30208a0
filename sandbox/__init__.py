"""A real local Kubernetes control plane for the demo, the tests and the benchmark. Nothing of it ships.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler, with kwok playing the nodes, all on 127.0.0.1 with
free ports, without root and without containers. On a shell: ``python -m sandbox up | down | status | build``. In a
program: :func:`sandbox.plane.start`.
"""
