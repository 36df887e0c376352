import { timingSafeEqual } from 'node:crypto';
import { goodAdminKeys } from '#libs/domain/tenancy';
import { sha256Hex } from '#libs/event-log';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import { KeyGuard } from '../edge/key-guard.ts';
import type { GatewayFolds } from './folds.ts';

const digest = (hex: string): Buffer => Buffer.from(hex, 'hex');

/** Who may change what there is: holders of the admin key of the start, or of one that the log names. Guesses are limited by address. */
export class AdminKeys {
  readonly #first: Buffer | undefined;
  readonly #guard = new KeyGuard();

  constructor(
    adminKey: string | undefined,
    private readonly folds: GatewayFolds,
    private readonly environment: Environment,
  ) {
    this.#first = adminKey === undefined || adminKey === '' ? undefined : digest(sha256Hex(adminKey));
  }

  /** The actor of the commits that follow. @throws ADMIN_KEY_UNAUTHORIZED, ADMIN_KEY_GUESSES_LIMITED */
  actorOf(authorization: string | undefined, address: string): string | undefined {
    const [, given = ''] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    if (given === '') throw unauthorized;
    const nowMs = this.environment.clock.nowMs();
    const hash = sha256Hex(given);
    const waitS = this.#guard.idle ? 0 : this.#guard.waitS(address, hash, nowMs);
    if (waitS > 0) {
      throw new CodedError('ADMIN_KEY_GUESSES_LIMITED', 'too many wrong admin keys came from this address', {
        advice: `Try again in ${waitS} s, with the right one.`,
      });
    }
    const bytes = digest(hash);
    let found = this.#first !== undefined && timingSafeEqual(bytes, this.#first) ? '' : undefined;
    for (const { id, keyHash } of goodAdminKeys(this.folds.state().tenancy.admin, nowMs)) {
      if (timingSafeEqual(bytes, digest(keyHash))) found ??= id;
    }
    if (found === undefined) {
      this.#guard.failed(address, nowMs);
      throw unauthorized;
    }
    if (!this.#guard.idle) this.#guard.succeeded(address, hash);
    return found === '' ? undefined : `admin:${found}`;
  }
}

const unauthorized = new CodedError('ADMIN_KEY_UNAUTHORIZED', 'this needs an admin key', {
  advice: 'Send "authorization: Bearer <key>": that of LINTEL_ADMIN_KEY, or one of lintel admin-keys create.',
});
