import { Controller, Get, Inject, UseGuards } from '@nestjs/common';
import * as answers from '../openapi/answers.ts';
import { Described } from '../openapi/described.ts';
import { API_DOCUMENT } from '../tokens.ts';
import { AdminGuard } from './admin.guard.ts';

/** What there is to ask, in the form that tools read. */
@Controller('api/v1')
@UseGuards(AdminGuard)
export class OpenApiController {
  constructor(@Inject(API_DOCUMENT) private readonly document: () => object) {}

  @Get('openapi.json')
  @Described({ summary: 'This document: OpenAPI 3.1', answer: answers.anything })
  openapi(): object {
    return this.document();
  }
}
