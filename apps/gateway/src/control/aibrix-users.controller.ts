import { Body, Controller, HttpCode, Inject, Post, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { AibrixUser, TenantCommand } from '#libs/domain/tenancy';
import { aibrixTenantId, aibrixUserOf, putAibrixUser, tenantSteps } from '#libs/domain/tenancy';
import type { Environment } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import { AdminKeys } from './admin-keys.ts';
import { Commands } from './commands.ts';
import type { GatewayFolds } from './folds.ts';
import { controlLimits } from './limits.ts';
import { environmentToken, foldsToken } from './tokens.ts';

interface UserAnswer {
  readonly message: string;
  readonly user: AibrixUser;
}

const nameLengthMax = 256;

/** AIBrix's user API. Its users are who the `user` header may name, each with so many requests and tokens a minute. */
@Controller()
export class AibrixUsersController {
  constructor(
    @Inject(AdminKeys) private readonly adminKeys: AdminKeys,
    @Inject(Commands) private readonly commands: Commands,
    @Inject(foldsToken) private readonly folds: GatewayFolds,
    @Inject(environmentToken) private readonly environment: Environment,
  ) {}

  @Post('CreateUser')
  @HttpCode(200)
  async create(@Req() request: FastifyRequest, @Body() body: unknown): Promise<UserAnswer> {
    const actor = this.#actor(request);
    const wanted = userOf(body);
    const there = this.#find(wanted.name);
    if (there !== undefined) return { message: `User ${wanted.name} exists already`, user: there };
    return {
      message: `Created user ${wanted.name}`,
      user: await this.#give(wanted.name, putAibrixUser(wanted), actor),
    };
  }

  @Post('ReadUser')
  @HttpCode(200)
  read(@Req() request: FastifyRequest, @Body() body: unknown): UserAnswer {
    this.#actor(request);
    const { name } = nameOf(body);
    return { message: `User ${name}`, user: this.#there(name) };
  }

  @Post('UpdateUser')
  @HttpCode(200)
  async update(@Req() request: FastifyRequest, @Body() body: unknown): Promise<UserAnswer> {
    const actor = this.#actor(request);
    const wanted = userOf(body);
    this.#there(wanted.name);
    return {
      message: `Updated user ${wanted.name}`,
      user: await this.#give(wanted.name, putAibrixUser(wanted), actor),
    };
  }

  @Post('DeleteUser')
  @HttpCode(200)
  async remove(@Req() request: FastifyRequest, @Body() body: unknown): Promise<UserAnswer> {
    const actor = this.#actor(request);
    const { name } = nameOf(body);
    const user = this.#there(name);
    const tenantId = aibrixTenantId(name);
    await this.#give(name, [{ type: 'RemoveTenant', tenantId, reason: 'DeleteUser' }], actor);
    return { message: `Deleted user ${name}`, user };
  }

  #actor({ headers, ip }: FastifyRequest): string | undefined {
    return this.adminKeys.actorOf(headers.authorization, ip);
  }

  #find(name: string): AibrixUser | undefined {
    return aibrixUserOf(this.folds.state().tenancy.tenants.get(aibrixTenantId(name)));
  }

  #there(name: string): AibrixUser {
    const found = this.#find(name);
    if (found !== undefined) return found;
    throw new CodedError('USER_NOT_FOUND', `there is no user ${JSON.stringify(name)}`, {
      advice: 'POST /CreateUser makes one.',
    });
  }

  /** Resolves when this gateway goes by it. */
  async #give(name: string, steps: readonly TenantCommand[], actor: string | undefined): Promise<AibrixUser> {
    const { seq } = await this.commands.handle(tenantSteps, aibrixTenantId(name), steps, {
      commandId: this.environment.ids.uuid(),
      ...(actor === undefined ? {} : { actor }),
    });
    await this.folds.tenancy.waitFor(seq, controlLimits.minSeqWaitMsMax);
    return this.#find(name) ?? { name, rpm: 0, tpm: 0 };
  }
}

/** @throws USER_INVALID */
function nameOf(body: unknown): { readonly name: string } {
  const { name } = (typeof body === 'object' && body !== null ? body : {}) as { name?: unknown };
  if (typeof name === 'string' && name !== '' && name.length <= nameLengthMax) return { name };
  throw invalid(`name must be a text of 1 to ${nameLengthMax} characters`);
}

function userOf(body: unknown): AibrixUser {
  const { name } = nameOf(body);
  const { rpm = 0, tpm = 0 } = body as { rpm?: unknown; tpm?: unknown };
  const whole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!whole(rpm) || !whole(tpm)) throw invalid('rpm and tpm must be whole numbers of 0 or more');
  return { name, rpm, tpm };
}

const invalid = (why: string): CodedError =>
  new CodedError('USER_INVALID', why, { advice: 'Send {"name": "ann", "rpm": 60, "tpm": 100000} as JSON.' });
