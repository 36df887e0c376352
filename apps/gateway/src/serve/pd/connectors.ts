import type { BodyFields, Edit } from './body-fields.ts';
import { edited, fieldsOf, rawOf, setTo, setWhereSaid } from './body-fields.ts';

export const connectorNames = ['nixl', 'nixl-push', 'shared-storage', 'mooncake', 'sglang', 'tensorrt-llm'] as const;
export type ConnectorName = (typeof connectorNames)[number];

/** What a connector has to know of a hand-over beside the body. */
export interface HandoverIds {
  /** Of the prefill side, for engines that are told where it is. */
  readonly host: string;
  readonly bootstrapPort: number;
  /** The prefill side's own name, as it was started with; '' is unknown. */
  readonly engineId: string;
  readonly requestId: string;
  /** A number that no other hand-over has, in [2⁴², 2⁵³). */
  readonly number: number;
}

/** How two engines are told to hand KV over. Pure: bodies in, changes out. */
export interface Connector {
  readonly name: ConnectorName;
  /** Both sides are asked at once; else the decode side is asked with what the prefill side has answered. */
  readonly atOnce: boolean;
  /** A decode replica answers a plain request alone, a prefill replica does so in need. */
  readonly decodesAlone: boolean;
  prefill(fields: BodyFields, ids: HandoverIds): Edit[];
  /** Undefined: the prefill side left nothing to take over, and the decode side does all of it. `answer` is undefined where both are asked at once. */
  decode(fields: BodyFields, ids: HandoverIds, answer: Buffer | undefined): Edit[] | undefined;
}

/** Members of a request that are ours to write when it is handed over. */
export const ownFields = [
  'kv_transfer_params',
  'disaggregated_params',
  'bootstrap_host',
  'bootstrap_port',
  'bootstrap_room',
] as const;

/** Members of a request that a hand-over reads or writes. */
export const requestFields: ReadonlySet<string> = new Set([
  ...ownFields,
  'max_tokens',
  'max_completion_tokens',
  'min_tokens',
  'stream',
  'stream_options',
  'n',
  'best_of',
  'use_beam_search',
  'prompt',
  'echo',
  'prompt_logprobs',
]);

const whole = (fields: BodyFields): Edit[] => [
  ...setWhereSaid(fields, 'stream', 'false'),
  ...setWhereSaid(fields, 'stream_options', 'null'),
];

/** One token, in one piece: the prompt is what is wanted. */
function oneToken(fields: BodyFields): Edit[] {
  const said = [...setWhereSaid(fields, 'max_tokens', '1'), ...setWhereSaid(fields, 'max_completion_tokens', '1')];
  return [
    ...whole(fields),
    ...setWhereSaid(fields, 'min_tokens', '0'),
    ...(said.length > 0 ? said : setTo(fields, 'max_tokens', '1')),
  ];
}

const answerFields = new Set(['kv_transfer_params', 'choices']);

const remoteDecode =
  '{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}';

/** vLLM: what the prefill side answers as `kv_transfer_params` goes to the decode side as it is. Pull and push differ between the engines alone. */
const vllm = (name: ConnectorName): Connector => ({
  name,
  atOnce: false,
  decodesAlone: true,
  prefill: (fields) => [...oneToken(fields), ...setTo(fields, 'kv_transfer_params', remoteDecode)],
  decode(fields, _ids, answer) {
    const answered = answer === undefined ? undefined : fieldsOf(answer, answerFields);
    const params = answered === undefined ? undefined : rawOf(answered, 'kv_transfer_params');
    return params === undefined ? undefined : setTo(fields, 'kv_transfer_params', params);
  },
});

/** vLLM with storage that both see: the decode side finds the prompt's KV there by its content, so that nothing needs to be said. */
const sharedStorage: Connector = {
  ...vllm('shared-storage'),
  prefill: oneToken,
  decode: () => [],
};

/** vLLM's MooncakeConnector: the decode side is told whom to ask, and by which name. */
const mooncake: Connector = {
  name: 'mooncake',
  atOnce: false,
  decodesAlone: true,
  prefill: (fields, { requestId }) => [
    ...oneToken(fields),
    ...setTo(
      fields,
      'kv_transfer_params',
      JSON.stringify({ do_remote_decode: true, do_remote_prefill: false, transfer_id: `xfer-${requestId}` }),
    ),
  ],
  decode: (fields, { requestId, host, bootstrapPort, engineId }) =>
    setTo(
      fields,
      'kv_transfer_params',
      JSON.stringify({
        do_remote_decode: false,
        do_remote_prefill: true,
        remote_bootstrap_addr: `http://${host}:${bootstrapPort}`,
        remote_engine_id: engineId,
        transfer_id: `xfer-${requestId}`,
      }),
    ),
};

const bootstrap = (fields: BodyFields, { host, bootstrapPort, number }: HandoverIds): Edit[] => [
  ...setTo(fields, 'bootstrap_host', JSON.stringify(host)),
  ...setTo(fields, 'bootstrap_port', String(bootstrapPort)),
  ...setTo(fields, 'bootstrap_room', String(number)),
];

/** SGLang: both sides meet in a room of the prefill side's bootstrap server. */
const sglang: Connector = {
  name: 'sglang',
  atOnce: true,
  decodesAlone: false,
  prefill: (fields, ids) => [...whole(fields), ...bootstrap(fields, ids)],
  decode: bootstrap,
};

const choiceFields = new Set(['disaggregated_params', 'finish_reason']);
const typeField = new Set(['request_type']);

/** The first of a JSON array's values; undefined where it has none. */
function firstOf(array: Buffer | undefined): Buffer | undefined {
  const start = array?.indexOf(0x7b) ?? -1;
  return start < 0 || array === undefined ? undefined : array.subarray(start);
}

/** TensorRT-LLM: the context server's `disaggregated_params` go to the generation server, with another type. */
const tensorrtLlm: Connector = {
  name: 'tensorrt-llm',
  atOnce: false,
  decodesAlone: true,
  prefill: (fields, { number }) => [
    ...whole(fields),
    ...setTo(
      fields,
      'disaggregated_params',
      JSON.stringify({ request_type: 'context_only', disagg_request_id: number }),
    ),
  ],
  decode(fields, _ids, answer) {
    const answered = answer === undefined ? undefined : fieldsOf(answer, answerFields);
    const choice = answered === undefined ? undefined : firstOf(rawOf(answered, 'choices'));
    const first = choice === undefined ? undefined : fieldsOf(choice, choiceFields);
    const params = first === undefined ? undefined : rawOf(first, 'disaggregated_params');
    const inside = params === undefined ? undefined : fieldsOf(params, typeField);
    // An answer that ended with its first token left nothing to generate.
    const reason = first === undefined ? undefined : rawOf(first, 'finish_reason')?.toString('latin1');
    if (params === undefined || inside === undefined || reason === '"stop"') return undefined;
    return setTo(fields, 'disaggregated_params', edited(params, setTo(inside, 'request_type', '"generation_only"')));
  },
};

export const connectors: Readonly<Record<ConnectorName, Connector>> = {
  nixl: vllm('nixl'),
  'nixl-push': vllm('nixl-push'),
  'shared-storage': sharedStorage,
  mooncake,
  sglang,
  'tensorrt-llm': tensorrtLlm,
};
