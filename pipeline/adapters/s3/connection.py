"""Sessions, credentials and clients of boto3, as the S3 policy defines them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError

from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import Halt

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Credential

_ROLE_SESSION_NAME = "clipstream"

_CREDENTIALS_AGE = timedelta(minutes=10)
"""boto3 renews credentials that expire within this time, so a copy is valid for this long."""


def open_session(policy: S3Policy) -> boto3.session.Session:
    """A session whose credentials renew themselves.

    Raises:
        Halt: the profile does not exist, or there are no credentials.
    """
    try:
        session = boto3.session.Session(profile_name=policy.profile, region_name=policy.region)
        if session.get_credentials() is None:
            raise Halt(
                "s3.no_credentials",
                f"{policy.section}: no credentials in the environment, the shared files, web "
                "identity, container or instance; set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, {policy.section}.profile, or give the pod a role",
            )
        if policy.role_arn is None:
            return session
        return _with_role(session, policy.role_arn, policy.external_id)
    except BotoCoreError as error:
        raise Halt(
            "s3.session",
            f"{policy.section}: {error}; check {policy.section}.profile and the AWS files",
        ) from error


def own_region() -> str | None:
    """The region that AWS's environment or files give this machine, if they do."""
    return boto3.session.Session().region_name


def certificate_authorities(policy: S3Policy) -> bytes | None:
    """The contents of the store's ``ca_file``, if it is set.

    Raises:
        Halt: the file cannot be read.
    """
    if policy.ca_file is None:
        return None
    try:
        return policy.ca_file.read_bytes()
    except OSError as error:
        raise Halt("s3.ca_file", f"{policy.section}.ca_file: {error}; fix the path") from error


def _with_role(
    source: boto3.session.Session, role_arn: str, external_id: str | None
) -> boto3.session.Session:
    core = botocore.session.Session()
    role = _AssumedRole(source, role_arn, external_id)
    core.register_component("credential_provider", CredentialResolver([role]))
    return boto3.session.Session(botocore_session=core, region_name=source.region_name)


class _AssumedRole(CredentialProvider):
    """Lets botocore assume and renew the role. boto3 itself can do that only for a role in a
    file."""

    METHOD = "clipstream-assume-role"

    def __init__(
        self, source: boto3.session.Session, role_arn: str, external_id: str | None
    ) -> None:
        super().__init__()
        extra = {"RoleSessionName": _ROLE_SESSION_NAME}
        if external_id is not None:
            extra["ExternalId"] = external_id
        self._fetcher = AssumeRoleCredentialFetcher(
            client_creator=source.client,
            source_credentials=source.get_credentials(),
            role_arn=role_arn,
            extra_args=extra,
        )

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(
            refresh_using=self._fetcher.fetch_credentials, method=self.METHOD
        )


def open_client(
    session: boto3.session.Session, policy: S3Policy, *, attempts: int, connections: int
) -> S3Client:
    """A thread-safe client that tries each request ``attempts`` times."""
    proxies = {"http": policy.proxy_url, "https": policy.proxy_url} if policy.proxy_url else {}
    style = "path" if policy.addressing == "auto" and policy.endpoint else policy.addressing
    client = session.client(
        "s3",
        endpoint_url=policy.endpoint,
        verify=str(policy.ca_file) if policy.ca_file else True,
        config=Config(
            connect_timeout=policy.connect_timeout_s,
            read_timeout=policy.read_timeout_s,
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
            # The settings say where the store is. The environment gives only the credentials.
            proxies=proxies,
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # stubs lag
            s3={"addressing_style": style},
            # Other stores than AWS fail on checksums that nobody asked for.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register_last("before-parameter-build.s3", _refuse_redirects)
    return client


def _refuse_redirects(context: dict[str, Any], **_: object) -> None:
    """Make botocore believe that it has already followed a redirect.

    Otherwise it would go to another host than the settings name. If the answer names no region
    (such as a bare 301), it would be redirected without end (S3RegionRedirectorv2 in 1.44).
    """
    context.setdefault("s3_redirect", {})["redirected"] = True


class Credentials:
    """Gives obstore the session's current credentials.

    obstore calls this from a thread of its own, some minutes before the last copy expires. It
    blocks while boto3 renews them.
    """

    def __init__(self, session: boto3.session.Session) -> None:
        self._session = session

    def __call__(self) -> S3Credential:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise RuntimeError("s3: the session has lost its credentials")
        frozen = credentials.get_frozen_credentials()
        if frozen.access_key is None or frozen.secret_key is None:
            raise RuntimeError("s3: the credentials lack a key")
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_AGE,
        }
