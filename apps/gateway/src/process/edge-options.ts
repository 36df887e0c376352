import type { Command } from 'commander';
import { Option } from 'commander';
import { CodedError } from '#libs/kernel';
import type { EdgeConfig, LintelConfig } from '#libs/nest-kit';
import { edgeConfigOf, env } from '#libs/nest-kit';

/** What flags and environment say of the edge: each stands over the same of the configuration file. */
export interface EdgeFlags {
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly tlsClientCa: string | undefined;
  readonly tlsMinVersion: '1.2' | '1.3' | undefined;
  readonly http2: boolean;
  readonly h2c: boolean;
  readonly trustedProxies: readonly string[] | undefined;
  /** What the process that started this one has; nothing else counts then. */
  readonly given: EdgeConfig | undefined;
}

export interface EdgeFlagsRead {
  tlsCert?: string;
  tlsKey?: string;
  tlsClientCa?: string;
  tlsMinVersion?: '1.2' | '1.3';
  http2: boolean;
  h2c?: boolean;
  trustedProxies?: string;
  edge?: EdgeConfig;
}

export function addEdgeFlags(program: Command): void {
  program
    .option(
      '--tls-cert <file>',
      'PEM file of the certificate and its chain, read again when it changes (LINTEL_TLS_CERT)',
    )
    .option('--tls-key <file>', 'PEM file of its key (LINTEL_TLS_KEY)')
    .option('--tls-client-ca <file>', 'clients must have a certificate of these authorities (LINTEL_TLS_CLIENT_CA)')
    .addOption(new Option('--tls-min-version <version>', 'oldest TLS that is spoken, 1.2').choices(['1.2', '1.3']))
    .addOption(new Option('--edge <json>').hideHelp().argParser((text): EdgeConfig => JSON.parse(text) as EdgeConfig))
    .option('--no-http2', 'do not offer HTTP/2 over TLS')
    .option('--h2c', 'take HTTP/2 without TLS, from clients that begin with it')
    .option(
      '--trusted-proxies <networks>',
      'networks whose x-forwarded-for is believed, with commas between them (LINTEL_TRUSTED_PROXIES)',
    );
}

export function edgeFlags(flags: EdgeFlagsRead): EdgeFlags {
  return {
    given: flags.edge,
    tlsCert: flags.tlsCert ?? env.tlsCert,
    tlsKey: flags.tlsKey ?? env.tlsKey,
    tlsClientCa: flags.tlsClientCa ?? env.tlsClientCa,
    tlsMinVersion: flags.tlsMinVersion,
    http2: flags.http2,
    h2c: flags.h2c === true,
    trustedProxies: (flags.trustedProxies ?? env.trustedProxies)?.split(',').map((network) => network.trim()),
  };
}

/** The edge as flags, environment and file say together. @throws TLS_INCOMPLETE */
export function edgeOf(flags: EdgeFlags, file: LintelConfig | undefined): EdgeConfig {
  if (flags.given !== undefined) return flags.given;
  const { tlsCert = file?.tls?.cert, tlsKey = file?.tls?.key, tlsClientCa = file?.tls?.clientCa } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined) || (tlsCert === undefined && tlsClientCa !== undefined)) {
    throw new CodedError('TLS_INCOMPLETE', 'TLS needs a certificate and its key', {
      advice: 'Give both --tls-cert and --tls-key.',
    });
  }
  const minVersion = flags.tlsMinVersion ?? file?.tls?.minVersion ?? '1.2';
  const { trustedProxies: proxies } = file ?? {};
  return {
    ...(file === undefined ? {} : edgeConfigOf(file)),
    tls:
      tlsCert === undefined || tlsKey === undefined
        ? undefined
        : { cert: tlsCert, key: tlsKey, clientCa: tlsClientCa, minVersion },
    http2: {
      tls: flags.http2 && file?.http2?.tls !== false,
      cleartext: flags.h2c || file?.http2?.cleartext === true,
    },
    trustedProxies:
      flags.trustedProxies === undefined
        ? proxies
        : { header: 'x-forwarded-for', proxyProtocol: false, ...proxies, networks: [...flags.trustedProxies] },
  };
}
