"""An S3-compatible server on this machine, for the tests of runs in object stores."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow.fs
from moto.server import ThreadedMotoServer

SECRET: Final = "ahighlysecretaccesskeyofnobody"
KEY: Final = "AKIAEXAMPLEOFNOBODY"
BUCKET: Final = "sweeps"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Serve one bucket on the loopback interface; give what the environment has to say about it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
        yield {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
            # Ours follows the endpoint; polars wants to be told.
            "AWS_ALLOW_HTTP": "true",
        }
    finally:
        server.stop()


def arrow_files(environment: dict[str, str]) -> pyarrow.fs.S3FileSystem:
    """Return the store as pyarrow has it, which knows nothing of ours."""
    return pyarrow.fs.S3FileSystem(
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=environment["AWS_ENDPOINT_URL"].removeprefix("http://"),
        scheme="http",
        region=environment["AWS_REGION"],
    )


def objects(server: dict[str, str], url: str) -> dict[str, bytes]:
    """Return all objects of a run, as another program sees them."""
    files = arrow_files(server)
    prefix = url.removeprefix("s3://")
    found = files.get_file_info(pyarrow.fs.FileSelector(prefix, recursive=True, allow_not_found=True))
    paths = [one.path for one in found if one.is_file]
    return {path.removeprefix(f"{prefix}/"): files.open_input_stream(path).read() for path in paths}
