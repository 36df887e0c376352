// Makes a tiny random Llama in GGUF (about 0.5 MB), which llama.cpp loads: node make_gguf.mjs OUT.gguf
// Same seed, same bytes. The weights mean nothing, but the text can be read: the model can only choose whole words.
import { writeFileSync } from 'node:fs';
import { isMain } from './common.mjs';

const SEED = 20240607;
const HIDDEN = 48;
const LAYERS = 2;
const HEADS = 3;
const FEED_FORWARD = 96;
const CONTEXT = 4096;
const ALIGNMENT = 32;
const SPACE = '\u2581'; // how SentencePiece writes a space
const WORDS =
  `a and are as at away before bridge bright by calm chair city clear cold day deep door east every evening far field fire
first flower for forest from garden gentle glass grass green hand hill home house in into island lake lamp later leaf letter light
like little long meadow moon morning mountain music near never night north now ocean of old on once open over paper path quiet rain
river road sea shadow silver sky slow small snow soft song south spring star stone story street summer sun table that the then there
through time to tree under valley voice warm water west when white wind window winter with word year young`.split(
    /\s+/,
  );
const CHAT_TEMPLATE =
  "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/** Seeded uniform numbers (mulberry32) and from them normal ones (Box-Muller). */
function makeRandom(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** A SentencePiece-like vocabulary: special tokens, bytes, characters, and each word with the beginnings that lead to it. */
function makeVocabulary() {
  const tokens = [];
  const add = (text, score, type, bias) => tokens.push({ text, score, type, bias });
  const NEVER = -12;
  add('<unk>', 0, 2, NEVER);
  add('<s>', 0, 3, NEVER);
  add('</s>', 0, 3, 0.4); // an answer ends now and then
  for (let byte = 0; byte < 256; byte++) add(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0, 6, NEVER);
  const seen = new Set();
  const once = (text, score, bias) => {
    if (seen.has(text)) return;
    seen.add(text);
    add(text, score, 1, bias);
  };
  // A pair of pieces is joined only if the result is a token, so every beginning of a word has to be one.
  for (const word of WORDS) once(SPACE + word, -10 + word.length / 10, 0);
  for (const mark of [',', '.']) once(mark, -20, 0);
  once(SPACE, -30, NEVER);
  for (let code = 33; code < 127; code++) once(String.fromCharCode(code), -30, NEVER);
  for (const word of WORDS)
    for (let length = 1; length < word.length; length++) once(SPACE + word.slice(0, length), -20 + length / 10, NEVER);
  return tokens;
}

function makeTensors(vocabulary) {
  const normal = makeRandom(SEED);
  const matrix = (inputs, outputs, scale) =>
    Object.assign(
      Float32Array.from({ length: inputs * outputs }, () => normal() * scale),
      { dims: [inputs, outputs] },
    );
  const ones = () => Object.assign(new Float32Array(HIDDEN).fill(1), { dims: [HIDDEN] });
  const clearRow0 = (tensor) => (tensor.fill(0, 0, tensor.dims[0]), tensor);
  // Hidden value 0 is the same constant everywhere: no layer writes it, and the output reads it as a bias per token.
  const embedding = matrix(HIDDEN, vocabulary.length, 1);
  const output = matrix(HIDDEN, vocabulary.length, 0.26);
  vocabulary.forEach(({ bias, type }, token) => {
    embedding[token * HIDDEN] = 4;
    if (type !== 1) output.fill(0, token * HIDDEN, (token + 1) * HIDDEN);
    output[token * HIDDEN] = bias;
  });
  const tensors = { 'token_embd.weight': embedding, 'output_norm.weight': ones(), 'output.weight': output };
  for (let layer = 0; layer < LAYERS; layer++) {
    const name = (part) => `blk.${layer}.${part}.weight`;
    const scale = 1 / Math.sqrt(HIDDEN);
    tensors[name('attn_norm')] = ones();
    for (const part of ['attn_q', 'attn_k', 'attn_v']) tensors[name(part)] = matrix(HIDDEN, HIDDEN, scale);
    tensors[name('attn_output')] = clearRow0(matrix(HIDDEN, HIDDEN, scale));
    tensors[name('ffn_norm')] = ones();
    for (const part of ['ffn_gate', 'ffn_up']) tensors[name(part)] = matrix(HIDDEN, FEED_FORWARD, scale);
    tensors[name('ffn_down')] = clearRow0(matrix(FEED_FORWARD, HIDDEN, 1 / Math.sqrt(FEED_FORWARD)));
  }
  return tensors;
}

const u32 = (value) => {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
};
const u64 = (value) => {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
};
const f32 = (value) => {
  const buffer = Buffer.alloc(4);
  buffer.writeFloatLE(value);
  return buffer;
};
const text = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

// The value types of GGUF that are used here, by their numbers in the format.
const TYPES = {
  u32: [4, u32],
  i32: [5, u32],
  f32: [6, f32],
  bool: [7, (value) => Buffer.from([value ? 1 : 0])],
  string: [8, text],
};
const ARRAY = 9;

function field(key, type, value) {
  const [number, write] = TYPES[type];
  if (!Array.isArray(value)) return Buffer.concat([text(key), u32(number), write(value)]);
  return Buffer.concat([text(key), u32(ARRAY), u32(number), u64(value.length), ...value.map(write)]);
}

export function makeGguf() {
  const vocabulary = makeVocabulary();
  const tensors = makeTensors(vocabulary);
  const fields = [
    ['general.architecture', 'string', 'llama'],
    ['general.name', 'string', 'lintel-tiny'],
    ['general.alignment', 'u32', ALIGNMENT],
    ['general.file_type', 'u32', 0],
    ['llama.vocab_size', 'u32', vocabulary.length],
    ['llama.context_length', 'u32', CONTEXT],
    ['llama.embedding_length', 'u32', HIDDEN],
    ['llama.block_count', 'u32', LAYERS],
    ['llama.feed_forward_length', 'u32', FEED_FORWARD],
    ['llama.attention.head_count', 'u32', HEADS],
    ['llama.attention.head_count_kv', 'u32', HEADS],
    ['llama.attention.layer_norm_rms_epsilon', 'f32', 1e-5],
    ['llama.rope.dimension_count', 'u32', HIDDEN / HEADS],
    ['llama.rope.freq_base', 'f32', 10_000],
    ['tokenizer.ggml.model', 'string', 'llama'],
    ['tokenizer.ggml.tokens', 'string', vocabulary.map((token) => token.text)],
    ['tokenizer.ggml.scores', 'f32', vocabulary.map((token) => token.score)],
    ['tokenizer.ggml.token_type', 'i32', vocabulary.map((token) => token.type)],
    ['tokenizer.ggml.unknown_token_id', 'u32', 0],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.add_bos_token', 'bool', true],
    ['tokenizer.ggml.add_space_prefix', 'bool', true],
    ['tokenizer.chat_template', 'string', CHAT_TEMPLATE],
  ];
  const infos = [];
  const data = [];
  let offset = 0;
  for (const [name, values] of Object.entries(tensors)) {
    infos.push(text(name), u32(values.dims.length), ...values.dims.map(u64), u32(0), u64(offset)); // type 0: 32-bit floats
    const bytes = Buffer.from(values.buffer);
    const padding = Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT);
    data.push(bytes, padding);
    offset += bytes.length + padding.length;
  }
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(Object.keys(tensors).length),
    u64(fields.length),
    ...fields.map((entry) => field(...entry)),
    ...infos,
  ]);
  const padding = Buffer.alloc((ALIGNMENT - (head.length % ALIGNMENT)) % ALIGNMENT);
  return Buffer.concat([head, padding, ...data]);
}

if (isMain(import.meta.url)) {
  if (!process.argv[2] || process.argv[2].startsWith('-')) {
    console.log('usage: node tools/engines/make_gguf.mjs OUT.gguf');
  } else {
    writeFileSync(process.argv[2], makeGguf());
  }
}
