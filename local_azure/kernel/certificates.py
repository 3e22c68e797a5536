"""A certificate authority in memory, with certificates for servers and devices."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALIDITY = timedelta(days=3650)  # the clock of a stack may be moved by years


class CertificateAuthority:
    """Signs a server certificate for all addresses of a stack, and client certificates."""

    def __init__(self, *, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Local Azure CA")])
        self._certificate = (
            self._builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.server_certificate_pem, self.server_key_pem = self._issue(
            "local-azure", usage=ExtendedKeyUsageOID.SERVER_AUTH, addresses=addresses
        )

    @property
    def ca_pem(self) -> str:
        """The authority's own certificate, which clients must trust."""
        return _pem(self._certificate)

    def issue_client(self, common_name: str) -> tuple[str, str]:
        """A client certificate and its key, both PEM, for X.509 devices."""
        return self._issue(common_name, usage=ExtendedKeyUsageOID.CLIENT_AUTH, addresses=())

    def server_context(self, *, ask_for_client_certificate: bool = False) -> ssl.SSLContext:
        """A TLS context for the stack's servers."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # load_cert_chain reads only files; the key is on disk during this call.
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder, "server.pem")
            chain.touch(mode=0o600)
            chain.write_text(self.server_certificate_pem + self.server_key_pem)
            context.load_cert_chain(chain)
        if ask_for_client_certificate:
            context.load_verify_locations(cadata=self.ca_pem)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client_context(self) -> ssl.SSLContext:
        """A TLS context that trusts only this authority."""
        return ssl.create_default_context(cadata=self.ca_pem)

    def _issue(
        self, common_name: str, *, usage: x509.ObjectIdentifier, addresses: tuple[str, ...]
    ) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            self._builder(subject, self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if addresses:
            names = x509.SubjectAlternativeName([_general_name(a) for a in addresses])
            builder = builder.add_extension(names, critical=False)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        return _pem(builder.sign(self._key, hashes.SHA256())), key_pem

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
