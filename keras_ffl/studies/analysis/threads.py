"""Threads of NumPy's and SciPy's linear algebra."""


def one_blas_thread():
    """Context in which BLAS uses one thread.

    More threads only help with matrices larger than this package's. With small
    ones they wait for each other, and with other processes on the same CPUs a
    fit that takes 16 s in one thread took 415 s in two.

    Only loaded libraries are limited: import SciPy and scikit-learn first.
    """
    # Installed with scikit-learn.
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1, user_api="blas")
