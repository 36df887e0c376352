import { createHash } from 'node:crypto';
import type { AdminKeyAnswer, KeyAnswer, ListAnswer, OneAnswer, ReceiptAnswer, TenantDetail } from '#libs/domain/diag';
import { CodedError } from '#libs/kernel';
import { InvalidArgumentError } from 'commander';
import type { Cli } from '../cli.ts';
import type { ExitCode } from '../exit-codes.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Item } from '../render/lists.ts';
import type { PeopleList } from '../render/people.ts';
import { renderPeople, renderTenant } from '../render/people.ts';
import { renderKey, renderReceipt } from '../render/receipts.ts';
import type { AddCommands, Flags, Handler } from './command.ts';
import { text } from './command.ts';
import { list } from './lists.ts';

const path = (...parts: readonly string[]): string => `/api/v1/${parts.map(encodeURIComponent).join('/')}`;

/** Reason in the body, where one is given: it stands in the commit. */
const reasonOf = (flags: Flags): { reason?: string } => {
  const reason = text(flags['reason']);
  return reason === undefined ? {} : { reason };
};

const names = (given: string): string[] =>
  given
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');

/** What of a key's scope was said. An empty text takes a bound away. */
function scopeOf(flags: Flags): Record<string, unknown> {
  const scope: Record<string, unknown> = {};
  for (const name of ['name', 'project', 'user'] as const) {
    if (typeof flags[name] === 'string') scope[name] = flags[name];
  }
  for (const name of ['models', 'endpoints'] as const) {
    const given = flags[name];
    if (typeof given === 'string') scope[name] = names(given);
  }
  const priority = text(flags['priority']);
  if (priority !== undefined) scope['priority'] = priority === 'none' ? null : Number(priority);
  const expires = text(flags['expires']);
  if (expires !== undefined) scope['expiresAt'] = expires === 'never' ? null : expires;
  return scope;
}

function priority(given: string): string {
  if (given === 'none' || /^-?[0-8]$/.test(given)) return given;
  throw new InvalidArgumentError('must be a whole number from -8 to 8, or none.');
}

const listing =
  (what: PeopleList, pathOf: (args: readonly string[]) => string): Handler =>
  async (cli, args) => {
    const api = await cli.api();
    const answer = await api.json<ListAnswer<Item>>(pathOf(args));
    await cli.answer(answer, (layout) => renderPeople(what, answer, layout));
    return exitCodes.ok;
  };

/** PUT or DELETE of one thing; `say` tells what was done to it. */
const changing =
  (
    method: 'PUT' | 'DELETE',
    pathOf: (args: readonly string[]) => string,
    say: (args: readonly string[]) => string,
  ): Handler =>
  async (cli, args, flags) => {
    const { name, project } = scopeOf(flags);
    const body = method === 'DELETE' ? reasonOf(flags) : { name, project };
    const api = await cli.api();
    const receipt = await api.json<ReceiptAnswer>(pathOf(args), { method, body });
    await cli.answer(receipt, (layout) => renderReceipt(say(args), receipt, layout));
    return exitCodes.ok;
  };

async function showTenant(cli: Cli, [id = '']: readonly string[]): Promise<ExitCode> {
  const api = await cli.api();
  const answer = await api.json<OneAnswer<TenantDetail>>(path('tenants', id));
  await cli.answer(answer, (layout) => renderTenant(answer.item, layout));
  return exitCodes.ok;
}

const keyPath = ([tenant = '', key = '']: readonly string[], ...more: string[]): string =>
  path('tenants', tenant, 'keys', key, ...more);

async function createKey(cli: Cli, [tenant = '', keyId = '']: readonly string[], flags: Flags): Promise<ExitCode> {
  const api = await cli.api();
  const body = { keyId, ...scopeOf(flags) };
  const answer = await api.json<KeyAnswer>(path('tenants', tenant, 'keys'), { method: 'POST', body });
  await cli.answer(answer, (layout) => renderKey(`key ${keyId} of tenant ${tenant} issued`, answer, layout));
  return exitCodes.ok;
}

async function changeKey(cli: Cli, args: readonly string[], flags: Flags): Promise<ExitCode> {
  const body = scopeOf(flags);
  if (Object.keys(body).length === 0) {
    throw new CodedError('CHANGE_MISSING', 'nothing was said that should change', {
      advice: 'Give at least one of --name, --project, --user, --models, --endpoints, --priority, --expires.',
    });
  }
  const api = await cli.api();
  const receipt = await api.json<ReceiptAnswer>(keyPath(args), { method: 'PATCH', body });
  await cli.answer(receipt, (layout) => renderReceipt(`key ${args[1]} of tenant ${args[0]} changed`, receipt, layout));
  return exitCodes.ok;
}

async function rotateKey(cli: Cli, args: readonly string[], flags: Flags): Promise<ExitCode> {
  const overlap = text(flags['overlap']);
  const api = await cli.api();
  const body = overlap === undefined ? {} : { overlap };
  const answer = await api.json<KeyAnswer>(keyPath(args, 'rotate'), { method: 'POST', body });
  const until = overlap === '0' ? 'no longer works' : `works for ${overlap ?? '24h'} more`;
  const what = `key ${args[1]} of tenant ${args[0]} rotated; the one before ${until}`;
  await cli.answer(answer, (layout) => renderKey(what, answer, layout));
  return exitCodes.ok;
}

async function createAdminKey(cli: Cli, [keyId = '']: readonly string[], flags: Flags): Promise<ExitCode> {
  const { name, expiresAt } = scopeOf(flags);
  const body = { keyId, ...(name === undefined ? {} : { name }), ...(expiresAt === undefined ? {} : { expiresAt }) };
  const api = await cli.api();
  const answer = await api.json<AdminKeyAnswer>(path('admin-keys'), { method: 'POST', body });
  await cli.answer(answer, (layout) => renderKey(`admin key ${keyId} issued`, answer, layout));
  return exitCodes.ok;
}

/** The form in which keys stand in lintel.yaml and in the log. From standard input, so that a key stays out of the shell's history. */
export async function hashKey(cli: Cli, [given]: readonly string[]): Promise<ExitCode> {
  const key = (given ?? (await cli.io.input())).replace(/\r?\n$/, '');
  if (key === '') {
    throw new CodedError('KEY_MISSING', 'there is no key to hash', {
      advice: 'Pipe it in: `lintel keys hash < key-file`.',
    });
  }
  const sha256 = createHash('sha256').update(key).digest('hex');
  await cli.answer({ sha256 }, () => sha256);
  return exitCodes.ok;
}

const nameFlag = ['--name <text>', 'for people'] as const;
const reasonFlag = ['--reason <text>', 'why; stands in the commit'] as const;

export const addPeople: AddCommands = (program, act) => {
  const tenants = program.command('tenants').description('who may send requests').alias('tenant');
  act(tenants.command('list').description('all of them'), async (cli, _, flags) => await list(cli, 'tenants', flags));
  act(
    tenants.command('show').description('one, with its projects, users and keys').argument('<id>', 'tenant'),
    showTenant,
  );
  act(
    tenants
      .command('create')
      .alias('update')
      .description('make one, or name it anew')
      .argument('<id>', 'tenant')
      .option(...nameFlag),
    changing(
      'PUT',
      ([id = '']) => path('tenants', id),
      ([id]) => `tenant ${id} is there`,
    ),
  );
  act(
    tenants
      .command('remove')
      .description('with its projects, users and keys')
      .argument('<id>', 'tenant')
      .option(...reasonFlag),
    changing(
      'DELETE',
      ([id = '']) => path('tenants', id),
      ([id]) => `tenant ${id} is removed`,
    ),
  );

  const parts = [
    { many: 'projects', one: 'project', text: 'parts of a tenant', gone: 'with its users and their keys' },
    { many: 'users', one: 'user', text: 'people of a tenant', gone: 'with its keys' },
  ] as const;
  for (const { many, one, text: about, gone } of parts) {
    const pathOf = ([tenant = '', id = '']: readonly string[]): string => path('tenants', tenant, many, id);
    const room = program.command(many).description(about).alias(one);
    act(
      room.command('list').description('those of a tenant').argument('<tenant>', 'whose'),
      listing(many, ([tenant = '']) => path('tenants', tenant, many)),
    );
    const create = room
      .command('create')
      .alias('update')
      .description('make one, or change it')
      .argument('<tenant>', 'whose')
      .argument('<id>', one)
      .option(...nameFlag);
    if (many === 'users') create.option('--project <id>', 'only of this project');
    act(
      create,
      changing('PUT', pathOf, ([tenant, id]) => `${one} ${id} of tenant ${tenant} is there`),
    );
    act(
      room
        .command('remove')
        .description(gone)
        .argument('<tenant>', 'whose')
        .argument('<id>', one)
        .option(...reasonFlag),
      changing('DELETE', pathOf, ([tenant, id]) => `${one} ${id} of tenant ${tenant} is removed`),
    );
  }

  const keys = program.command('keys').alias('key').description("clients' API keys");
  act(
    keys.command('list').description('those of a tenant, with their scopes').argument('<tenant>', 'whose'),
    listing('keys', ([tenant = '']) => path('tenants', tenant, 'keys')),
  );
  const scoped = (name: string, alias: string | undefined, about: string) => {
    const command = keys.command(name).description(about);
    if (alias !== undefined) command.alias(alias);
    return command
      .argument('<tenant>', 'whose')
      .argument('<key-id>', 'its name in records and for revoking')
      .option(...nameFlag)
      .option('--project <id>', 'what it is for')
      .option('--user <id>', 'whose it is')
      .option('--models <names>', 'only these, separated by commas')
      .option('--endpoints <paths>', 'only these, separated by commas; /v1/audio/* is all below')
      .option('--priority <n>', 'band of its requests, and the highest they may ask for: -8 to 8, or none', priority)
      .option('--expires <when>', '30d (from now), a time, or never');
  };
  act(scoped('create', 'issue', 'make a key; it is shown once'), createKey);
  act(scoped('change', undefined, 'what it may do; what is not given stays'), changeKey);
  act(
    keys
      .command('rotate')
      .description('another key in place of this one; it is shown once')
      .argument('<tenant>', 'whose')
      .argument('<key-id>', 'which')
      .option('--overlap <duration>', 'how long the one before works; 0 for not at all (default 24h)'),
    rotateKey,
  );
  act(
    keys
      .command('revoke')
      .description('refuse it from now on')
      .argument('<tenant>', 'whose')
      .argument('<key-id>', 'which')
      .option(...reasonFlag),
    changing(
      'DELETE',
      (args) => keyPath(args),
      ([tenant, id]) => `key ${id} of tenant ${tenant} revoked`,
    ),
  );
  act(
    keys
      .command('hash')
      .description('sha256 of a key, as lintel.yaml wants it; needs no server')
      .argument('[key]', 'better left out: then it is read from standard input'),
    hashKey,
  );

  const admin = program.command('admin-keys').description('keys of the admin API');
  act(
    admin.command('list').description('all but the one of the start'),
    listing('admin-keys', () => path('admin-keys')),
  );
  act(
    admin
      .command('create')
      .description('make one; it is shown once')
      .argument('<key-id>', 'its name in commits and for revoking')
      .option(...nameFlag)
      .option('--expires <when>', '30d (from now) or a time; default never'),
    createAdminKey,
  );
  act(
    admin
      .command('revoke')
      .description('refuse it from now on')
      .argument('<key-id>', 'which')
      .option(...reasonFlag),
    changing(
      'DELETE',
      ([id = '']) => path('admin-keys', id),
      ([id]) => `admin key ${id} revoked`,
    ),
  );
};
