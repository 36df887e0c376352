import { X509Certificate } from 'node:crypto';
import type { SecureContext } from 'node:tls';
import { createSecureContext, rootCertificates } from 'node:tls';
import { CodedError, errorText } from '#libs/kernel';

/**
 * Whom replicas behind https may be certified by: the well-known authorities and those of this PEM text. Made once: to read some
 * hundred certificates for each connection costs more than the connection.
 * @throws UPSTREAM_CA_INVALID
 */
export function trustOf(pem: string): SecureContext {
  const own = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const advice = 'Give a PEM file of the authority that signed the replicas’ certificates.';
  if (own.length === 0) throw new CodedError('UPSTREAM_CA_INVALID', 'the CA file holds no certificate', { advice });
  try {
    for (const each of own) void new X509Certificate(each);
    return createSecureContext({ ca: [...rootCertificates, ...own] });
  } catch (cause) {
    throw new CodedError('UPSTREAM_CA_INVALID', `the CA file: ${errorText(cause)}`, { advice, cause });
  }
}
