import { Body, Controller, HttpCode, Inject, Post, UseGuards } from '@nestjs/common';
import { CodedError } from '#libs/kernel';
import { mooncakeQuery } from '../answers/mooncake.ts';
import type { Core } from '../core.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';

/** The part of Mooncake's indexer API that asks. Who is followed, lintel.yaml says; hashes of blocks are made otherwise here. */
@Controller()
@UseGuards(AdminGuard)
export class MooncakeController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Post('query')
  @HttpCode(200)
  query(@Body() body: unknown): object {
    return mooncakeQuery(this.core, body);
  }

  @Post('query_by_hash')
  byHash(): never {
    throw new CodedError('BAD_REQUEST', 'blocks are not known by hashes that others make', {
      advice: 'Ask POST /query with the tokens of the prompt.',
    });
  }

  @Post(['register', 'unregister'])
  register(): never {
    throw new CodedError('BAD_REQUEST', 'engines are followed as they are registered with Lintel', {
      advice: 'Write kvEvents: {} of the replica in lintel.yaml, or take it out.',
    });
  }
}
