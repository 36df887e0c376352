import { createHmac } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { route } from '#libs/contracts';
import type { Rng } from '#libs/kernel';
import { CodedError, errorCode, errorText } from '#libs/kernel';
import type { EdgeConfig } from '#libs/nest-kit';
import { readCredential } from '../fleet/credentials.ts';
import type { FleetReplica } from '../fleet/fleet.ts';
import { spliced } from '../serve/body/usage-option.ts';
import type { Endpoint } from '../serve/endpoints.ts';
import type { Plane } from '../serve/plane.ts';

const file = 'cache-salt-secret';
const secretBytesMin = 16;
const words = 8;
/** Tenants whose salt is at hand; of more each is computed anew. */
const saltsMax = 10_000;

/** One salt for each tenant, that no other tenant can guess: prompts of two tenants never share a cached block. */
export class CacheSalts {
  readonly #secret: string;
  readonly #known = new Map<string, string>();

  constructor(secret: string) {
    this.#secret = secret;
  }

  /** `given`: what the client itself asks for keeps its own prompts apart, inside its tenant. */
  of(tenantId: string, given: string): string {
    if (given !== '') return this.#derive(tenantId, given);
    const known = this.#known.get(tenantId);
    if (known !== undefined) return known;
    const salt = this.#derive(tenantId, '');
    if (this.#known.size < saltsMax) this.#known.set(tenantId, salt);
    return salt;
  }

  #derive(tenantId: string, given: string): string {
    return createHmac('sha256', this.#secret).update(`${tenantId}\0${given}`).digest('base64url');
  }
}

/** The configuration for processes that share a port with the one of this folder: their salts are its own. */
export const sharedEdge = (config: EdgeConfig | undefined, home: string): EdgeConfig => ({
  ...config,
  cacheSaltSecret: config?.cacheSaltSecret ?? `file:${join(home, file)}`,
});

/** The secret named by the configuration, else one that is kept in the gateway's folder. @throws CACHE_SALT_SECRET_INVALID */
export async function cacheSalts(ref: string | undefined, home: string, rng: Rng): Promise<CacheSalts> {
  const { value, problem } = ref === undefined ? await kept(join(home, file), rng) : await readCredential(ref);
  if (value !== undefined && value.length >= secretBytesMin) return new CacheSalts(value);
  throw new CodedError('CACHE_SALT_SECRET_INVALID', problem ?? `the secret is shorter than ${secretBytesMin} bytes`, {
    advice: 'Name a secret of 16 bytes or more with cacheSaltSecret: env:NAME or file:/path.',
  });
}

async function kept(path: string, rng: Rng): Promise<{ value: string | undefined; problem: string | undefined }> {
  const bytes = Buffer.alloc(words * 4);
  for (let word = 0; word < words; word++) bytes.writeUInt32LE(rng.uint32(), word * 4);
  try {
    await writeFile(path, bytes.toString('base64url'), { mode: 0o600, flag: 'wx' });
  } catch (thrown) {
    if (errorCode(thrown) !== 'EEXIST')
      return { value: undefined, problem: `cannot write ${path}: ${errorText(thrown)}` };
  }
  try {
    return { value: (await readFile(path, 'utf8')).trim(), problem: undefined };
  } catch (thrown) {
    return { value: undefined, problem: `cannot read ${path}: ${errorText(thrown)}` };
  }
}

/** A replica's label that says whether it may be sent a salt, whatever its engine is. */
const saltLabel = 'lintel.cache-salt';

/** Engines known to take `cache_salt` in a body. */
export function takesSalt({ engine, labels }: FleetReplica): boolean {
  const label = labels[saltLabel];
  return label === undefined ? engine === route.EngineKind.VLLM : label === 'on';
}

type Salting = Pick<Plane, 'salts' | 'state' | 'scanner'>;

/**
 * Keeps a tenant's prompts apart where it asks for that: the body with its salt in the client's place, and the scanner as it reads that
 * one. Where some replica does not take a salt no body is changed: then only what is known of the replicas' caches is kept apart.
 */
export function salted(
  { salts, state, scanner }: Salting,
  tenantId: string,
  body: Buffer,
  { saltOption, prompts, modelOptional }: Endpoint,
  replicas: readonly FleetReplica[],
): Buffer {
  if (salts === undefined || state().tenancy.tenants.get(tenantId)?.registration?.cacheSalt !== true) return body;
  const salt = salts.of(tenantId, scanner.cacheSalt);
  if (!saltOption || !replicas.every(takesSalt)) {
    scanner.cacheSalt = salt;
    return body;
  }
  const { cacheSaltAt, objectStart, model } = scanner;
  const at = objectStart + 1;
  const splice =
    cacheSaltAt === undefined
      ? { start: at, end: at, text: `"cache_salt":"${salt}",` }
      : { ...cacheSaltAt, text: `"${salt}"` };
  const changed = spliced(body, splice);
  scanner.scan(changed, prompts, modelOptional);
  scanner.model = model;
  return changed;
}
