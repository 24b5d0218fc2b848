"""How Clipstream and Kafka's brokers authenticate to each other: TLS and SASL settings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from pipeline.adapters.kafka.security.tls import tls_context
from pipeline.errors import Halt
from pipeline.policy import Policy, Tier

_USER_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MECHANISMS = (*_USER_MECHANISMS, "GSSAPI", "AWS_MSK_IAM", "OAUTHBEARER")
_OF_TLS = ("ca_file", "certificate_file", "key_file", "key_password", "ciphers")
_OF_OAUTH = ("oauth_token_file", "oauth_token_url", "oauth_client_id", "oauth_client_secret")
_OF_SASL = ("sasl_mechanism", "username", "password", *_OF_OAUTH)


class KafkaSecurity(Policy):
    """TLS and SASL."""

    tier = Tier.TUNING

    protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Tier.EVERYDAY
    ] = Field("PLAINTEXT", description="Security protocol of the brokers' listener.")
    ca_file: Annotated[str | None, Tier.EVERYDAY] = Field(
        None,
        description="PEM file of the authorities that sign the brokers' certificates. Default: "
        "the system's authorities.",
    )
    certificate_file: str | None = Field(None, description="PEM file of the client certificate.")
    key_file: str | None = Field(None, description="PEM file of the client certificate's key.")
    key_password: SecretStr | None = Field(None, description="Password of the key file.")
    check_hostname: Annotated[bool, Tier.EXPERT] = Field(
        True,
        description="Whether a broker's certificate must name the host that Clipstream connects "
        "to.",
    )
    ciphers: Annotated[str | None, Tier.EXPERT] = Field(
        None, description="OpenSSL cipher list for TLS 1.2."
    )
    sasl_mechanism: Annotated[
        (
            Literal[
                "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "AWS_MSK_IAM", "OAUTHBEARER"
            ]
            | None
        ),
        Tier.EVERYDAY,
    ] = Field(
        None,
        description="SASL mechanism; required by the SASL protocols. GSSAPI needs the Python "
        "package gssapi, which Clipstream does not install.",
    )
    username: Annotated[str | None, Tier.EVERYDAY] = Field(
        None, description="User name for PLAIN and SCRAM."
    )
    password: Annotated[SecretStr | None, Tier.EVERYDAY] = Field(
        None, description="Password for PLAIN and SCRAM."
    )
    kerberos_service: str = Field(
        "kafka", description="Kerberos service name of the brokers, for GSSAPI."
    )

    oauth_token_file: str | None = Field(
        None,
        description="OAUTHBEARER: file that holds the token. Clipstream reads the file at each "
        "connection; the program that writes the file must renew the token, as Kubernetes does "
        "for a projected service account token.",
    )
    oauth_token_url: str | None = Field(
        None,
        description="OAUTHBEARER: token endpoint for the client credentials grant.",
        pattern=r"^https?://",
    )
    oauth_client_id: str | None = Field(
        None, description="OAUTHBEARER: client id for oauth_token_url."
    )
    oauth_client_secret: SecretStr | None = Field(
        None, description="OAUTHBEARER: client secret for oauth_token_url."
    )
    oauth_scope: str | None = Field(
        None, description="OAUTHBEARER: scope to request from oauth_token_url."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(
                f"kafka.security.sasl_mechanism: {self.protocol} needs one; write "
                f"{', '.join(_MECHANISMS[:-1])} or {_MECHANISMS[-1]}"
            )
        self._check_uses()
        if self.sasl_mechanism in _USER_MECHANISMS and None in (self.username, self.password):
            raise ValueError(
                f"kafka.security: {self.sasl_mechanism} needs username and password; "
                "set the password through the environment"
            )
        if self.sasl_mechanism == "OAUTHBEARER":
            self._check_oauth()
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("kafka.security: set certificate_file and key_file together")
        return self

    def _check_oauth(self) -> None:
        client = (self.oauth_token_url, self.oauth_client_id, self.oauth_client_secret)
        given = sum(part is not None for part in client)
        if self.oauth_token_file is not None and given:
            raise ValueError(
                "kafka.security: oauth_token_file and oauth_token_url are two ways to a token; "
                "write one of them"
            )
        if self.oauth_token_file is None and given < len(client):
            raise ValueError(
                "kafka.security: OAUTHBEARER needs oauth_token_file, or oauth_token_url with "
                "oauth_client_id and oauth_client_secret"
            )

    def _check_uses(self) -> None:
        """Refuse settings that the protocol would ignore, because whoever set them relies on
        them."""
        tls = [name for name in _OF_TLS if getattr(self, name) is not None]
        sasl = [name for name in _OF_SASL if getattr(self, name) is not None]
        ignored = [
            *(tls if not self.protocol.endswith("SSL") else ()),
            *(sasl if not self.protocol.startswith("SASL") else ()),
        ]
        if ignored:
            over_tls = tls or self.protocol.endswith("SSL")
            wanted = ("SASL_SSL" if sasl else "SSL") if over_tls else "SASL_SSL or SASL_PLAINTEXT"
            raise ValueError(
                f"kafka.security.{ignored[0]}: has no use with protocol {self.protocol}; write "
                f"{wanted} for kafka.security.protocol, or leave {' and '.join(ignored)} out"
            )

    def client_options(self) -> dict[str, Any]:
        """Options of any client.

        Raises:
            Halt: ``settings.invalid``: a file or a cipher cannot be used, or a package is missing.
        """
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol.endswith("SSL"):
            context = tls_context(
                ca_file=self.ca_file,
                certificate_file=self.certificate_file,
                key_file=self.key_file,
                key_password=self.key_password.get_secret_value() if self.key_password else None,
                ciphers=self.ciphers,
                check_hostname=self.check_hostname,
            )
            options |= {"ssl_context": context, "ssl_check_hostname": self.check_hostname}
        if self.sasl_mechanism:
            options["sasl_mechanism"] = self.sasl_mechanism
        if self.username and self.password:
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password.get_secret_value()
        if self.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = self._token_provider()
        if self.sasl_mechanism == "GSSAPI":
            if importlib.util.find_spec("gssapi") is None:
                raise Halt(
                    "settings.invalid",
                    "kafka.security.sasl_mechanism: GSSAPI needs the Python package gssapi, which "
                    "is not installed; run pip install gssapi, or choose another mechanism",
                )
            options["sasl_kerberos_service_name"] = self.kerberos_service
        return options

    def _token_provider(self) -> Any:
        # Imported here so that settings can be loaded without the client.
        from pipeline.adapters.kafka.security.oauth import ClientCredentials, TokenFile

        if self.oauth_token_file is not None:
            return TokenFile(Path(self.oauth_token_file))
        if not (self.oauth_token_url and self.oauth_client_id and self.oauth_client_secret):
            raise AssertionError("unreachable: checked with the settings")
        secret = self.oauth_client_secret.get_secret_value()
        return ClientCredentials(
            self.oauth_token_url, self.oauth_client_id, secret, self.oauth_scope
        )
