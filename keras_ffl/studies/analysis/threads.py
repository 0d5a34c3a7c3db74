"""How many threads NumPy and SciPy take for their linear algebra."""


def one_blas_thread():
    """Context within which BLAS works in one thread.

    Threads pay for matrices larger than those of this package. For small
    ones they wait for each other, and where other processes want the same
    CPUs too, a fit that takes 16 s in one thread took 415 s in two.

    Only libraries that are loaded are limited: import SciPy and scikit-learn
    before.
    """
    # scikit-learn brings it.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
