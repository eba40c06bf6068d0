"""S3-compatible stores: how one is opened, and what its answers mean."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Any

from signalroom.errors import ConfigError, RetryableError, SignalRoomError

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_DENIED = {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken"}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


def bucket_at(bucket: str, prefix: str, endpoint: str, region: str, given: dict[str, str | None]) -> Any:
    """Return the store of a bucket, or of a prefix in it; ``given`` holds its keys, where there are any."""
    from obstore.store import S3Store

    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if endpoint:
        settings |= {"endpoint": endpoint.rstrip("/"), "virtual_hosted_style_request": False}
    return S3Store(
        bucket,
        prefix=prefix or None,
        region=region or os.environ.get("AWS_REGION") or "us-east-1",
        client_options={"allow_http": True, "connect_timeout": "5s", "timeout": "5min"},
        retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        **settings,
    )


def refused(url: str, key: str, text: str) -> SignalRoomError:
    """Return our error for a store's answer; its own words may quote a key id, so only the code is kept."""
    found, status = _CODE.search(text), _STATUS.search(text)
    code = found.group(1) if found else (f"HTTP {status.group(1)}" if status else "")
    where = f"{url} ({key})" if key else url
    if code in {"NoSuchBucket", "InvalidBucketName"}:
        return ConfigError(f"The bucket of {where} does not exist.", mend="Check its name and the endpoint.")
    if code in _DENIED or code in {"HTTP 401", "HTTP 403"} or "PermissionDenied" in text:
        return ConfigError(
            f"{where} refused us: {code or 'access denied'}.",
            mend="Check the access key, its secret and its rights to list, read and write there.",
        )
    if code in _REGION:
        return ConfigError(f"{where} is in another region ({code}).", mend="Set `region` to the bucket's.")
    if "dns error" in text or (status and status.group(1)[0] in "34" and not found):
        return ConfigError(
            f"No S3 store answers for {where} ({code or 'its host is not known'}).", mend="Check `endpoint`."
        )
    return RetryableError(
        f"{where} could not be reached: {code or 'no connection'}.", mend="Check `endpoint` if this stays so."
    )
