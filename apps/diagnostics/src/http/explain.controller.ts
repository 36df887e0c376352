import type {
  CalibrationAnswer,
  LogAnswer,
  NotaryAnswer,
  StateAnswer,
  VerifyAnswer,
  WhyAnswer,
} from '#libs/domain/diag';
import { Body, Controller, Get, HttpCode, Inject, Param, Post, Query, Res, UseGuards } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { exportArchive } from '../answers/archive.ts';
import { tellCalibration } from '../answers/calibration.ts';
import { followLog, logPage } from '../answers/log.ts';
import { replay } from '../answers/replay.ts';
import { stateAt } from '../answers/state.ts';
import { verify } from '../answers/verify.ts';
import { why } from '../answers/why.ts';
import type { Core } from '../core.ts';
import { limits } from '../limits.ts';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { CORE } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';
import { anyId, given, limitUpTo, moment, sequence, subjectFilterOf, text } from './given.ts';
import { answerLines } from './lines.ts';

const idGiven = z.object({ id: anyId });
const replayGiven = z.strictObject({
  since: moment.optional(),
  until: moment.optional(),
  limit: limitUpTo(Number.MAX_SAFE_INTEGER).optional(),
});
const calibrationGiven = z.object({
  since: moment.optional(),
  until: moment.optional(),
  model: text(256).optional(),
  limit: limitUpTo(limits.calibrationRecordsMax).default(limits.calibrationRecordsDefault),
});
const verifyGiven = z.strictObject({ projections: z.boolean().default(false) });
const stateGiven = z.object({ at: moment.optional(), diff: moment.optional() });
const logGiven = z.object({
  after: sequence.optional(),
  limit: limitUpTo(limits.logCommitsMax).default(limits.logCommitsDefault),
  subject: text(256).optional(),
});

const followGiven = logGiven.omit({ limit: true });

/** Questions to the history: why, again, is it true, how was it, what happened. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class ExplainController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @Get('why/:id')
  @Described({ summary: 'A request or a commit in words', params: idGiven, answer: answers.whyAnswer })
  async why(@Param() params: unknown): Promise<WhyAnswer> {
    return await why(this.core, given(idGiven, params).id);
  }

  @Post('replay')
  @Described({
    summary: 'Decide recorded requests again, and compare',
    body: replayGiven,
    as: 'lines',
    answer: answers.lineOf('progress', 'difference', 'missing-plugin', 'unreadable', 'done'),
  })
  async replay(@Body() body: unknown, @Res() reply: FastifyReply): Promise<void> {
    const options = given(replayGiven, body);
    const { longAnswers, stopping } = this.core;
    await longAnswers.run(() => answerLines(reply, stopping, (lines) => replay(this.core, options, lines)));
  }

  @Get('calibration')
  @Described({
    summary: 'What was foretold of requests, against what came of them',
    query: calibrationGiven,
    answer: answers.calibrationAnswer,
  })
  async calibration(@Query() query: unknown): Promise<CalibrationAnswer> {
    const options = given(calibrationGiven, query);
    return await this.core.longAnswers.run(() => tellCalibration(this.core, options));
  }

  @Post('verify')
  @HttpCode(200)
  @Described({
    summary: 'Hashes, chains, gaps, seals; rows against the log',
    body: verifyGiven,
    answer: answers.verifyAnswer,
  })
  async verify(@Body() body: unknown): Promise<VerifyAnswer> {
    const options = given(verifyGiven, body);
    return await this.core.longAnswers.run(() => verify(this.core, options));
  }

  @Get('state')
  @Described({
    summary: 'The fleet at a moment, and what changed to another',
    query: stateGiven,
    answer: answers.stateAnswer,
  })
  async state(@Query() query: unknown): Promise<StateAnswer> {
    const { at, diff } = given(stateGiven, query);
    return await stateAt(this.core, at, diff);
  }

  @Get('log')
  @Described({ summary: 'The timeline of decisions', query: logGiven, answer: answers.logAnswer })
  async log(@Query() query: unknown): Promise<LogAnswer> {
    const { after, limit, subject } = given(logGiven, query);
    return await logPage(this.core, { after, limit, subjects: subjectFilterOf(subject) });
  }

  @Get('log/follow')
  @Described({ summary: 'The timeline as it goes on', query: followGiven, as: 'lines', answer: answers.commitLine })
  async follow(@Query() query: unknown, @Res() reply: FastifyReply): Promise<void> {
    const { after, subject } = given(followGiven, query);
    const subjects = subjectFilterOf(subject);
    const { followers, stopping } = this.core;
    await followers.run(() =>
      answerLines(reply, stopping, (lines) => followLog(this.core, { after, subjects }, lines)),
    );
  }

  @Get('archive')
  @Described({ summary: 'The log with its seals', as: 'lines', answer: answers.archiveLine })
  async archive(@Res() reply: FastifyReply): Promise<void> {
    const { longAnswers, stopping } = this.core;
    await longAnswers.run(() => answerLines(reply, stopping, (lines) => exportArchive(this.core, lines)));
  }

  @Get('notary')
  @Described({ summary: 'How far the log is sealed', answer: answers.notaryAnswer })
  notary(): NotaryAnswer {
    const { sealedSeq, headSeq, anchors, publicKey, lastAnchor, halted, haltedReason } = this.core.notary.status();
    return {
      durability: this.core.broker.durability,
      sealedSeq,
      headSeq,
      anchors,
      publicKey,
      lastSealedAtMs: lastAnchor?.sealedAtMs ?? null,
      halted,
      haltedReason,
    };
  }
}
