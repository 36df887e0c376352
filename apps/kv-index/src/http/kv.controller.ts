import { Controller, Get, Inject, Query, UseGuards } from '@nestjs/common';
import { questions } from '../answers/queries.ts';
import type { Core } from '../core.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';

/** Hashes, places and counts; never tokens, never text. */
@Controller('api/v1/kv')
@UseGuards(AdminGuard)
export class KvController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('replicas')
  replicas(@Query('replica') replica?: string): object {
    return questions.replicas(this.core, replica === undefined ? {} : { replica });
  }

  @Get('top')
  top(@Query('limit') limit?: string): object {
    return questions.top(this.core, Number(limit) > 0 ? { limit: Number(limit) } : {});
  }

  @Get('block')
  block(@Query('hash') hash?: string): object {
    return questions.block(this.core, hash === undefined ? {} : { hash });
  }
}
