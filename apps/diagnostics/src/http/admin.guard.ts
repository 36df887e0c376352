import { timingSafeEqual } from 'node:crypto';
import { sha256Hex } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Inject, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { ADMIN_KEY } from '../tokens.ts';

const digest = (text: string): Buffer => Buffer.from(sha256Hex(text), 'hex');

/** Lets in who holds the admin key. Digests are compared, so that neither the key's length nor its letters show in the time. */
@Injectable()
export class AdminGuard implements CanActivate {
  readonly #expected: Buffer;

  constructor(@Inject(ADMIN_KEY) adminKey: string) {
    this.#expected = digest(adminKey);
  }

  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<FastifyRequest>();
    const [, given = ''] = /^Bearer +(.+)$/i.exec(headers.authorization ?? '') ?? [];
    if (timingSafeEqual(digest(given), this.#expected) && given !== '') return true;
    throw new CodedError('ADMIN_KEY_UNAUTHORIZED', 'this needs the admin key', {
      advice: 'Send "authorization: Bearer <key>"; npm start leaves it in <home>/admin-key.',
    });
  }
}
