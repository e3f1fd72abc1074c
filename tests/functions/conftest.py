"""The fixtures of ``function_cloud``, for every test in this folder."""

from function_cloud import bucket, cloud, data_api, fleets, invocations, quick_moto, set_step

__all__ = ["bucket", "cloud", "data_api", "fleets", "invocations", "quick_moto", "set_step"]
