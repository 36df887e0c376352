import { timingSafeEqual } from 'node:crypto';
import { goodAdminKeys } from '#libs/domain/tenancy';
import { sha256Hex } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Inject, Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Core } from '../core.ts';
import { ADMIN_KEY, CORE } from '../tokens.ts';
import { adminKeyIdHeader } from './asked.ts';

const digest = (text: string): Buffer => Buffer.from(sha256Hex(text), 'hex');

/**
 * Lets in who holds an admin key: the one of the start, or one that the log names and that is neither revoked nor expired. The digest is
 * compared with all of them, so that neither the key's length, nor its letters, nor which one it is show in the time. Wrong ones are
 * limited by address.
 */
@Injectable()
export class AdminGuard implements CanActivate {
  readonly #first: Buffer;

  constructor(
    @Inject(ADMIN_KEY) adminKey: string,
    @Inject(CORE) private readonly core: Core,
  ) {
    this.#first = digest(adminKey);
  }

  canActivate(context: ExecutionContext): boolean {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const { headers, ip } = request;
    delete headers[adminKeyIdHeader];
    const [, given = ''] = /^Bearer +(.+)$/i.exec(headers.authorization ?? '') ?? [];
    if (given === '') throw unauthorized;
    const { clock } = this.core.environment;
    const waitMs = this.core.guesses.waitMs(ip, clock.monotonicMs());
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1_000);
      void http.getResponse<FastifyReply>().header('retry-after', String(seconds));
      throw new CodedError('ADMIN_KEY_GUESSES_LIMITED', `too many wrong admin keys came from ${ip}`, {
        advice: `Try again in ${seconds} s, with the right one.`,
      });
    }
    const found = this.#holder(digest(given), clock.nowMs());
    if (found === undefined) {
      this.core.guesses.wrong(ip, clock.monotonicMs());
      throw unauthorized;
    }
    if (found !== '') headers[adminKeyIdHeader] = found;
    return true;
  }

  /** The id of the key, '' for the one of the start. */
  #holder(given: Buffer, nowMs: number): string | undefined {
    let holder = timingSafeEqual(given, this.#first) ? '' : undefined;
    for (const { id, keyHash } of goodAdminKeys(this.core.fold.adminKeys, nowMs)) {
      if (timingSafeEqual(given, Buffer.from(keyHash, 'hex')) && holder === undefined) holder = id;
    }
    return holder;
  }
}

const unauthorized = new CodedError('ADMIN_KEY_UNAUTHORIZED', 'this needs an admin key', {
  advice: 'Send "authorization: Bearer <key>"; npm start leaves one in <home>/admin-key.',
});
