import { Controller, Inject } from '@nestjs/common';
import { MessagePattern } from '@nestjs/microservices';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { diag } from '#libs/contracts';
import type { Core } from '../core.ts';
import { CORE } from '../tokens.ts';

/** How far the log is sealed, for other services. */
@Controller()
export class NotaryController {
  constructor(@Inject(CORE) private readonly core: Core) {}

  @MessagePattern('diag.GetNotaryStatus')
  status(): MessageInitShape<typeof diag.GetNotaryStatusResultSchema> {
    const { sealedSeq, headSeq, lastAnchor, halted, haltedReason } = this.core.notary.status();
    return { sealedSeq, headSeq, halted, haltedReason, ...(lastAnchor === undefined ? {} : { lastAnchor }) };
  }
}
