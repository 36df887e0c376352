import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { createSecureContext } from 'node:tls';
import { CodedError, errorText } from '#libs/kernel';
import type { Texts } from './watched-files.ts';

export type TlsVersion = '1.2' | '1.3';

/** A certificate and its key as a TLS side presents them, checked. */
export interface Certificate {
  readonly options: SecureContextOptions;
  /** Of the first certificate; what comes behind it is its chain. */
  readonly expiresAtMs: number;
}

const blocks = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** All certificates of a PEM text, each parsed. @throws TLS_INVALID where one is cut, or there is none */
export function certificatesIn(pem: string, what: string): readonly X509Certificate[] {
  const found = pem.match(blocks) ?? [];
  const begun = pem.split('-----BEGIN CERTIFICATE-----').length - 1;
  if (begun === 0) throw invalid(`${what} holds no certificate`);
  if (found.length !== begun) throw invalid(`${what} ends inside a certificate`);
  return found.map((each) => {
    try {
      return new X509Certificate(each);
    } catch (cause) {
      throw invalid(`${what}: ${errorText(cause)}`, cause);
    }
  });
}

/** `texts` has `cert` and `key`. @throws TLS_INVALID, before anything of it is used */
export function certificateOf({ cert = '', key = '' }: Texts): Certificate {
  const [own] = certificatesIn(cert, 'the certificate file') as [X509Certificate];
  try {
    if (!own.checkPrivateKey(createPrivateKey(key))) throw new Error('it is of another certificate');
  } catch (cause) {
    // Nothing of the key's text may stand in an error.
    throw invalid(`the key file does not fit the certificate: ${errorText(cause).split('\n', 1)[0] ?? ''}`);
  }
  const options = { cert, key };
  try {
    createSecureContext(options);
  } catch (cause) {
    throw invalid(`the certificate: ${errorText(cause)}`, cause);
  }
  return { options, expiresAtMs: own.validToDate.getTime() };
}

const invalid = (message: string, cause?: unknown): CodedError =>
  new CodedError('TLS_INVALID', message, {
    advice: 'Give a PEM file of the certificate followed by its chain, and the PEM file of its unencrypted key.',
    ...(cause === undefined ? {} : { cause }),
  });
