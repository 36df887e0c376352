import { timingSafeEqual } from 'node:crypto';
import { sha256Hex } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Inject, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { ADMIN_KEY } from '../tokens.ts';

const digest = (text: string): Buffer => Buffer.from(sha256Hex(text), 'hex');

/** Lets in who holds the admin key of the start. Those that the log names ask through diagnostics. */
@Injectable()
export class AdminGuard implements CanActivate {
  readonly #key: Buffer;

  constructor(@Inject(ADMIN_KEY) adminKey: string) {
    this.#key = digest(adminKey);
  }

  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<FastifyRequest>();
    const [, given = ''] = /^Bearer +(.+)$/i.exec(headers.authorization ?? '') ?? [];
    if (given !== '' && timingSafeEqual(digest(given), this.#key)) return true;
    throw new CodedError('ADMIN_KEY_UNAUTHORIZED', 'this needs the admin key', {
      advice: 'Send "authorization: Bearer <key>", the one in LINTEL_ADMIN_KEY.',
    });
  }
}
