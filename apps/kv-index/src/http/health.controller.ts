import type { HealthBoard } from '#libs/observability';
import { Controller, Get, Inject, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { Core } from '../core.ts';
import { BOARD, CORE } from '../tokens.ts';

/** What machines ask without a key. */
@Controller()
export class HealthController {
  constructor(
    @Inject(BOARD) private readonly board: HealthBoard,
    @Inject(CORE) private readonly core: Core,
  ) {}

  @Get('health')
  health(): object {
    return this.board.report();
  }

  @Get('ready')
  ready(@Res() reply: FastifyReply): void {
    const report = this.board.report();
    void reply.status(report.ready ? 200 : 503).send(report);
  }

  @Get('metrics')
  async metrics(@Res() reply: FastifyReply): Promise<void> {
    const { metrics } = this.core;
    void reply.header('content-type', metrics.contentType).send(await metrics.metrics());
  }
}
