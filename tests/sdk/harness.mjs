// What the Node checks of both SDKs share, as harness.py does for Python: the plan, the journal, and the cases that are
// alike. An adapter turns what its SDK returns into an answer; the journal of mock-upstream says what that has to be.

import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';

const CASE_MS = 20_000;
// The tokens of a `plain` answer; half of them arrive before a planted fault.
export const TOKENS = 40;

/** What a check has to report. */
export class Wrong extends Error {}

export function expect(what, seen, wanted) {
  if (!isDeepStrictEqual(seen, wanted)) {
    throw new Wrong(`${what}: ${JSON.stringify(seen)}, expected ${JSON.stringify(wanted)}`);
  }
}

export const nonce = () => randomBytes(16).toString('hex');
export const digest = (text) => (text ? createHash('sha256').update(text).digest('hex').slice(0, 16) : null);
const textOf = (nonce, count) => Array.from({ length: count }, (_, i) => `${nonce.slice(0, 8)}.${i} `).join('');

/**
 * The cases; what differs between the SDKs is in the methods that a subclass adds.
 *
 * `ask(way, mock, ask, messages, heard, options)` gives an answer (`model`, `finish`, `text`, `reasoning`, `calls`,
 * `usage`, `cost`, `message`, `requestId`), and pushes texts to `heard` as they come. `prompt(text, cached)` is the messages of
 * a first turn, `results(answer, contents)` those that follow an answer with calls.
 */
export class Suite {
  constructor(plan) {
    this.plan = plan;
    // The retry counts of the requests that went out, by nonce.
    this.sent = {};
  }

  /** The SDK's client; its `fetch` is the global one, which notes what goes out. */
  client(Client, path, mock, { key = this.plan.key, retries = 0 } = {}) {
    const noting = (url, init) => {
      const [nonce] = `${init.body}`.match(/[0-9a-f]{32}/) ?? [];
      (this.sent[nonce] ??= []).push(new Headers(init.headers).get('x-stainless-retry-count'));
      return fetch(url, init);
    };
    const baseURL = this.plan.origins[mock] + path;
    return new Client({ baseURL, apiKey: key, maxRetries: retries, fetch: noting });
  }

  async journal(mock, nonce) {
    const response = await fetch(`${this.plan.origins[mock]}/__mock/journal?nonce=${nonce}`);
    const lines = (await response.text()).split('\n').filter(Boolean);
    return lines.map((line) => JSON.parse(line));
  }

  /** Whether the answer is the one that the journal tells of. */
  check(answer, entry, ask, way, nonce) {
    expect('status', entry.status, 200);
    expect('stream', entry.stream, way !== 'whole');
    expect('model', answer.model, entry.model);
    expect('finish', answer.finish, entry.finish);
    expect('text', digest(answer.text), entry.text_sha256);
    expect('reasoning', digest(answer.reasoning), entry.reasoning_sha256);
    expect('usage', answer.usage, this.usageOf(entry.usage));
    expect('cost', answer.cost, Number(entry.cost));
    expect('number of calls', answer.calls.length, entry.tool_calls);
    expect('names of calls', answer.calls.map((call) => call.name), ask.calls ?? []);
    answer.calls.forEach((call, index) => {
      const { properties } = this.plan.tools[call.name].schema;
      const mark = `${nonce.slice(0, 8)}.c${index}`;
      const values = Object.entries(properties).map(([key, { type }]) => [key, type === 'string' ? mark : index]);
      expect(`arguments of call ${index}`, call.arguments, Object.fromEntries(values));
      if (!this.callId.test(call.id)) throw new Wrong(`id of call ${index}: ${call.id}, expected ${this.callId}`);
    });
    expect('distinct ids', new Set(answer.calls.map((call) => call.id)).size, answer.calls.length);
    if (answer.requestId) expect('request id', answer.requestId, requestId(entry));
  }

  only(entries, count = 1) {
    expect('attempts in the journal', entries.length, count);
    return entries.at(-1);
  }

  async answered(way, mock, ask, attempts = 1) {
    const [prompt, heard] = [nonce(), []];
    const answer = await this.ask(way, mock, ask, this.prompt(prompt), heard, { retries: attempts - 1 });
    this.check(answer, this.only(await this.journal(mock, prompt), attempts), ask, way, prompt);
    if (way !== 'whole') expect('text as it came', heard.join(''), answer.text);
  }

  /** The same prompt twice; the second time it is read from the cache. */
  async cachedPrompt(way) {
    const prompt = nonce();
    const messages = this.prompt(prompt + ' word'.repeat(30), true);
    for (const turn of [1, 2]) {
      const answer = await this.ask(way, 'caching', {}, messages, []);
      const entry = this.only(await this.journal('caching', prompt), turn);
      this.check(answer, entry, {}, way, prompt);
      expect('read from the cache', entry.usage.cache_read > 0, turn === 2);
    }
  }

  /** The error of a request that has to fail. */
  async fails(way, mock, nonce, heard = [], options = {}) {
    try {
      await this.ask(way, mock, {}, this.prompt(nonce), heard, options);
    } catch (error) {
      return error;
    }
    throw new Wrong('no error');
  }

  async status(way, code) {
    const [mock, prompt] = [[401, 404].includes(code) ? 'plain' : `status-${code}`, nonce()];
    // What the request is to blame for is not tried again.
    const options = { retries: code < 429 ? 2 : 0, ...{ 401: { key: 'another' }, 404: { model: 'another' } }[code] };
    const error = await this.fails(way, mock, prompt, [], options);
    const entry = this.only(await this.journal(mock, prompt));
    const [name, kind] = this.plan.errors[this.name][code];
    expect('class', error.constructor.name, name);
    expect('status', [error.status, entry.status], [code, code]);
    expect('request id', error.requestID, requestId(entry));
    expect('type', error.type, kind);
    this.checkError(error, kind);
    const patience = [429, 503, 529].includes(code) ? `${this.plan.retry_after_s}` : null;
    expect('retry-after', error.headers.get('retry-after'), patience);
  }

  async errorEvent(way) {
    const [prompt, heard] = [nonce(), []];
    const error = await this.fails(way, 'error-event', prompt, heard);
    expect('class', error.constructor.name, 'APIError');
    expect('message', error.message.includes('a planted fault'), true);
    expect('text before the error', heard.join(''), textOf(prompt, TOKENS / 2));
  }

  async cut(way) {
    const [prompt, heard] = [nonce(), []];
    const error = await this.fails(way, 'cut', prompt, heard);
    // The error of `fetch` itself; the helpers wrap it.
    expect('class', error.constructor.name, way === 'helper' ? this.helperError : 'TypeError');
    expect('message', error.message, 'terminated');
    if (way !== 'whole') expect('text before the cut', heard.join(''), textOf(prompt, TOKENS / 2));
  }

  async retries(way) {
    const prompt = nonce();
    const error = await this.fails(way, 'status-500', prompt, [], { retries: 2 });
    expect('class', error.constructor.name, 'InternalServerError');
    this.only(await this.journal('status-500', prompt), 3);
    expect('x-stainless-retry-count', this.sent[prompt], ['0', '1', '2']);
  }

  async retryAfter(way) {
    const prompt = nonce();
    const error = await this.fails(way, 'status-429', prompt, [], { retries: 1 });
    expect('class', error.constructor.name, 'RateLimitError');
    const entries = await this.journal('status-429', prompt);
    this.only(entries, 2);
    // Without the header the SDKs wait half a second at most.
    const waited = (entries[1].received_ns - entries[0].received_ns) / 1e9;
    expect('waited long enough', waited > 0.95 * this.plan.retry_after_s, true);
  }

  /** Sends reasoning, calls and their results back until there is an answer in words. */
  async converse(way, afterCalls) {
    const prompt = nonce();
    let [messages, ask] = [this.prompt(prompt), this.plan.asks['parallel tools']];
    for (let turn = 1; turn <= this.plan.turns; turn += 1) {
      const answer = await this.ask(way, 'thinking', ask, messages, []);
      const entry = this.only(await this.journal('thinking', prompt), turn);
      this.check(answer, entry, ask, way, prompt);
      if (answer.calls.length === 0) {
        expect('turns', turn, 2);
        expect('text at the end', answer.text !== '', true);
        return;
      }
      messages = [...messages, ...this.results(answer, ['21 degrees', 'Ada'])];
      ask = { ...ask, ...afterCalls };
    }
    throw new Wrong(`no answer in ${this.plan.turns} turns`);
  }

  /** Has the SDK run the tools by itself: `run(nonce, functions)` gives the text at the end. */
  async toolRunner(run) {
    const [prompt, called] = [nonce(), []];
    const functions = {
      weather: (input) => (called.push(['weather', input]), '21 degrees'),
      customer: (input) => (called.push(['customer', input]), 'Ada'),
    };
    const text = await run(prompt, functions);
    const mark = prompt.slice(0, 8);
    const calls = [['customer', { id: `${mark}.c1` }], ['weather', { city: `${mark}.c0`, days: 0 }]];
    expect('calls', called.sort(), calls);
    expect('text at the end', text, textOf(prompt, TOKENS));
    return prompt;
  }

  cases() {
    const { asks, errors } = this.plan;
    const cases = {
      recovery: (way) => this.answered(way, 'recovering', {}, 3),
      reasoning: (way) => this.answered(way, 'thinking', {}),
      'reasoning, then tools': (way) => this.answered(way, 'thinking', asks['parallel tools']),
      'dressed bytes': (way) => this.answered(way, 'dressed', {}),
      'cached prompt': (way) => this.cachedPrompt(way),
      'error event': (way) => this.errorEvent(way),
      cut: (way) => this.cut(way),
      retries: (way) => this.retries(way),
      'retry-after': (way) => this.retryAfter(way),
      'tool results': (way) => this.converse(way, { calls: [], choice: 'none' }),
      'tool loop': (way) => this.converse(way, { calls: [] }),
    };
    for (const [name, ask] of Object.entries(asks)) cases[name] = (way) => this.answered(way, 'plain', ask);
    for (const code of Object.keys(errors[this.name]).map(Number)) {
      cases[`status ${code}`] = (way) => this.status(way, code);
    }
    return { ...cases, ...this.ownCases() };
  }

  toolsOf(ask) {
    return (ask.tools ?? []).map((name) => ({ name, ...this.plan.tools[name] }));
  }
}

const requestId = (entry) => `req_${entry.seq.toString(16).padStart(16, '0')}`;

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Wrong(`no end after ${CASE_MS} ms`)), CASE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs the checks of this column and prints a line of JSON for each. */
export async function main(Adapter, version) {
  const plan = JSON.parse(readFileSync(0, 'utf8'));
  const suite = new Adapter(plan);
  console.log(JSON.stringify({ version }));
  const cases = suite.cases();
  for (const [name, way] of plan.checks) {
    let problem = null;
    try {
      await within(cases[name](way));
    } catch (error) {
      problem = error instanceof Wrong ? error.message : `${error?.constructor?.name}: ${error?.message}`;
    }
    console.log(JSON.stringify({ case: name, way, problem }));
  }
  // Connections that are kept alive must not keep the program.
  process.exit();
}
