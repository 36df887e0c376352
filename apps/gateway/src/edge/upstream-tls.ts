import type { SecureContext } from 'node:tls';
import { createSecureContext, rootCertificates } from 'node:tls';
import type { route } from '#libs/contracts';
import type { Timers } from '#libs/kernel';
import { certificateOf, certificatesIn } from './certificates.ts';
import type { Texts } from './watched-files.ts';
import { WatchedFiles } from './watched-files.ts';

/** How replicas behind https are spoken to. Asked anew for each connection: it follows its files. */
export interface UpstreamTrust {
  readonly context: SecureContext | undefined;
  /** The name that the certificate must have; '' is the host's. */
  readonly serverName: string;
}

export interface UpstreamTlsOptions {
  readonly timers: Timers;
  readonly say: (line: string) => void;
  /** PEM file of further authorities for all replicas. */
  readonly caFile?: string | undefined;
}

/** What a TLS connection to a replica is opened with. */
export function secured(trust: UpstreamTrust | undefined): { secureContext?: SecureContext; servername?: string } {
  if (trust?.context === undefined) return {};
  const { context, serverName } = trust;
  return serverName === '' ? { secureContext: context } : { secureContext: context, servername: serverName };
}

class Followed implements UpstreamTrust {
  /** Before its files could be read it trusts nobody: a connection fails and says so. */
  context: SecureContext | undefined = createSecureContext({ ca: [] });
  readonly files: WatchedFiles;

  constructor(
    readonly serverName: string,
    files: Readonly<Record<string, string | undefined>>,
    { timers, say }: UpstreamTlsOptions,
  ) {
    this.files = new WatchedFiles({ files, timers, say, apply: (texts) => this.#apply(texts) });
  }

  #apply({ shared, ca, cert, key }: Texts): void {
    const own = [shared, ca].flatMap((pem) =>
      pem === undefined ? [] : certificatesIn(pem, 'the file of authorities').map((one) => one.toString()),
    );
    const identity = cert === undefined ? {} : certificateOf({ cert, key: key ?? '' }).options;
    // A replica with authorities of its own is vouched for by them alone.
    this.context = createSecureContext({ ca: ca === undefined ? [...rootCertificates, ...own] : own, ...identity });
  }
}

const trustIn = ({ shared = '' }: Texts): void => void certificatesIn(shared, 'the file of authorities');

/** Authorities and certificates of replicas, one set for each kind of `tls` that is registered. */
export class UpstreamTls {
  readonly #options: UpstreamTlsOptions;
  readonly #byFiles = new Map<string, Followed>();

  private constructor(options: UpstreamTlsOptions) {
    this.#options = options;
  }

  /** @throws FILE_UNREADABLE, TLS_INVALID where the shared authorities are none */
  static async start(options: UpstreamTlsOptions): Promise<UpstreamTls> {
    const { caFile: shared } = options;
    if (shared !== undefined) {
      const check = new WatchedFiles({ ...options, files: { shared }, apply: (texts) => trustIn(texts) });
      await check.start();
      check.stop();
    }
    return new UpstreamTls(options);
  }

  /** Undefined: the well-known authorities, and no certificate of ours. */
  of(tls: route.ReplicaTls | undefined): UpstreamTrust | undefined {
    const { caFile } = this.#options;
    const { ca = '', cert = '', key = '', serverName = '' } = tls ?? {};
    if (tls === undefined && caFile === undefined) return undefined;
    const name = JSON.stringify([ca, cert, key, serverName]);
    const known = this.#byFiles.get(name);
    if (known !== undefined) return known;
    const given = (file: string): string | undefined => (file === '' ? undefined : file);
    const files = { shared: ca === '' ? caFile : undefined, ca: given(ca), cert: given(cert), key: given(key) };
    const made = new Followed(serverName, files, this.#options);
    made.files.startNow();
    this.#byFiles.set(name, made);
    return made;
  }

  /** Looks no longer at the files of what is not among these. */
  keep(used: ReadonlySet<UpstreamTrust | undefined>): void {
    for (const [name, followed] of this.#byFiles) {
      if (used.has(followed)) continue;
      followed.files.stop();
      this.#byFiles.delete(name);
    }
  }

  stop(): void {
    this.keep(new Set());
  }
}
