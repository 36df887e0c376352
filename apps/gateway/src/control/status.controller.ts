import { Controller, Get, Inject, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { Registry } from '#libs/observability';
import { HealthBoard } from '#libs/observability';
import { healthToken, metricsToken } from './tokens.ts';

/** What probes and scrapers ask. */
@Controller()
export class StatusController {
  constructor(
    @Inject(healthToken) private readonly health: HealthBoard,
    @Inject(metricsToken) private readonly metrics: Pick<Registry, 'contentType' | 'metrics'>,
  ) {}

  /** The process lives and its event loop turns. */
  @Get('health')
  alive(): { readonly status: 'ok' } {
    return { status: 'ok' };
  }

  /** 200 once requests are served; the body says for each dependency how it stands. */
  @Get('ready')
  ready(@Res() reply: FastifyReply): void {
    const report = this.health.report();
    void reply.status(report.ready ? 200 : 503).send(report);
  }

  @Get('metrics')
  async scrape(@Res() reply: FastifyReply): Promise<void> {
    void reply.header('content-type', this.metrics.contentType).send(await this.metrics.metrics());
  }
}
