import { subjects } from '#libs/contracts';
import { Controller, Get, Inject, Query, UseGuards } from '@nestjs/common';
import { z } from 'zod';
import type { Core } from '../core.ts';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { given, limitUpTo, subjectId } from './given.ts';

const replicasGiven = z.object({ replica: subjectId.optional() });
const topGiven = z.object({ limit: limitUpTo(1_000).default(50) });
const blockGiven = z.object({ hash: z.string().regex(/^[0-9a-f]{1,14}$/i, 'must be 1 to 14 hex digits') });

const deadlineMs = 5_000;

/** What engines hold, as `kv-index` knows it: hashes, places and counts. */
@Controller('api/v1/kv')
@UseGuards(AdminGuard)
export class KvController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('replicas')
  @Described({
    summary: 'What each KV cache holds, and what only it holds',
    query: replicasGiven,
    answer: answers.anything,
  })
  async replicas(@Query() query: unknown): Promise<object> {
    return await this.ask('Replicas', given(replicasGiven, query));
  }

  @Get('top')
  @Described({ summary: 'Blocks that most replicas hold', query: topGiven, answer: answers.anything })
  async top(@Query() query: unknown): Promise<object> {
    return await this.ask('Top', given(topGiven, query));
  }

  @Get('block')
  @Described({ summary: 'Who holds one block, and on which medium', query: blockGiven, answer: answers.anything })
  async block(@Query() query: unknown): Promise<object> {
    return await this.ask('Block', given(blockGiven, query));
  }

  private async ask(name: string, question: object): Promise<object> {
    const bytes = Buffer.from(JSON.stringify(question));
    const answer = await this.core.broker.requester.request(subjects.query('kv', name), bytes, { deadlineMs });
    return JSON.parse(Buffer.from(answer.bytes).toString()) as object;
  }
}
