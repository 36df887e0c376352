import { z } from 'zod';

const path = z.string().min(1);

/** "https://app.example.com", "https://*.example.com", or "*". */
const origin = z
  .string()
  .regex(
    /^(\*|https?:\/\/(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?)$/,
    'must be an origin such as "https://app.example.com" or "https://*.example.com", in lower case and without a path, or "*"',
  );

/** What stands before the HTTP server: encryption, proxies, browsers. */
export const edgeShape = {
  /** Files are read again when they change. */
  tls: z
    .strictObject({
      cert: path,
      key: path,
      /** Authorities of clients' certificates: clients must then have one. */
      clientCa: path.optional(),
      minVersion: z.enum(['1.2', '1.3']).default('1.2'),
    })
    .optional(),
  http2: z
    .strictObject({
      /** Offered to clients over TLS. */
      tls: z.boolean().default(true),
      /** Taken without TLS, from clients that begin with it. */
      cleartext: z.boolean().default(false),
    })
    .optional(),
  cors: z
    .strictObject({
      origins: z.array(origin).min(1),
      /** Headers of answers that pages may read, besides ours. */
      exposeHeaders: z.array(z.string().regex(/^[A-Za-z0-9-]+$/)).default([]),
      credentials: z.boolean().default(false),
      maxAgeS: z.int().min(0).max(86_400).default(600),
    })
    .refine(({ origins, credentials }) => !(credentials && origins.includes('*')), {
      message: 'credentials need origins by name: "*" would let every page use them',
    })
    .optional(),
  trustedProxies: z
    .strictObject({
      networks: z.array(z.string().min(1)).min(1),
      /** Where they say who the client is. */
      header: z.enum(['x-forwarded-for', 'forwarded', 'none']).default('x-forwarded-for'),
      /** They begin each connection with a PROXY protocol header. */
      proxyProtocol: z.boolean().default(false),
    })
    .optional(),
  /** What of clients' addresses records keep. */
  clientAddress: z.enum(['none', 'network', 'whole']).optional(),
  /** Seeds the cache salts of tenants with `cacheSalt`; the same for all gateways. */
  cacheSaltSecret: z
    .string()
    .regex(/^(env:[A-Za-z_][A-Za-z0-9_]*|file:\/.+)$/, 'must be "env:NAME" or "file:/absolute/path"')
    .optional(),
} as const;

/** The edge of a whole configuration. */
export const edgeConfigOf = (config: EdgeConfig): EdgeConfig =>
  Object.fromEntries(edgeNames.map((name) => [name, config[name]])) as EdgeConfig;

export const edgeNames = Object.keys(edgeShape) as (keyof typeof edgeShape)[];
const edgeSchema = z.strictObject(edgeShape);
export type EdgeConfig = z.output<typeof edgeSchema>;
