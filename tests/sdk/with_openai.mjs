// The official `openai` package for Node, against mock-upstream.

import OpenAI from 'openai';
import { VERSION } from 'openai/version';
import { expect, main, Suite, TOKENS } from './harness.mjs';

const INCLUDE_USAGE = { stream_options: { include_usage: true } };

class Checks extends Suite {
  name = 'openai';
  callId = /^call_./;
  helperError = 'OpenAIError';

  completions(mock, options) {
    return this.client(OpenAI, '/v1', mock, options).chat.completions;
  }

  prompt(text) {
    return [{ role: 'user', content: text }];
  }

  results(answer, contents) {
    const results = answer.calls.map(({ id }, i) => ({ role: 'tool', tool_call_id: id, content: contents[i] }));
    return [answer.message, ...results];
  }

  usageOf({ input, output, cache_read, cache_write, reasoning }) {
    return { input: input + cache_read + cache_write, output, cached: cache_read, reasoning };
  }

  checkError(error, kind) {
    expect('body', Object.keys(error.error).sort(), ['code', 'message', 'param', 'type']);
    expect('type in the body', error.error.type, kind);
    expect('message', error.message, `${error.status} ${error.error.message}`);
  }

  body(ask, messages, { model = this.plan.model } = {}) {
    const tools = this.toolsOf(ask);
    const body = { model, messages };
    if (ask.limit) body.max_completion_tokens = ask.limit;
    if (tools.length) {
      body.tools = tools.map(({ name, description, schema }) => ({
        type: 'function',
        function: { name, description, parameters: schema },
      }));
    }
    if ('parallel' in ask) body.parallel_tool_calls = ask.parallel;
    if ('choice' in ask) {
      const named = ask.tools.includes(ask.choice);
      body.tool_choice = named ? { type: 'function', function: { name: ask.choice } } : ask.choice;
    }
    return body;
  }

  async ask(way, mock, ask, messages, heard, options = {}) {
    const completions = this.completions(mock, options);
    const body = this.body(ask, messages, options);
    if (way === 'whole') {
      const completion = await completions.create(body);
      return this.answer(completion, completion.choices[0].message.reasoning_content, completion._request_id);
    }
    if (way === 'streamed') {
      return this.gather(await completions.create({ ...body, ...INCLUDE_USAGE, stream: true }), heard);
    }
    let reasoning = '';
    const stream = completions.stream({ ...body, ...INCLUDE_USAGE });
    stream.on('content', (delta) => heard.push(delta));
    // Of a member that it does not know, the helper keeps the last piece; its events have them all.
    stream.on('chunk', (chunk) => (reasoning += chunk.choices[0]?.delta.reasoning_content ?? ''));
    const completion = await stream.finalChatCompletion();
    expect('final message', await stream.finalMessage(), completion.choices[0].message);
    return this.answer(completion, reasoning);
  }

  answer(completion, reasoning, requestId) {
    expect('choices', completion.choices.length, 1);
    const [{ message, finish_reason: finish }] = completion.choices;
    const [{ model }, text, calls] = [completion, message.content ?? '', parsed(message.tool_calls)];
    return { model, finish, text, reasoning, calls, message, requestId, ...this.usage(completion.usage) };
  }

  usage(usage) {
    if (!usage) return { usage: {}, cost: null };
    expect('total tokens', usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    return {
      usage: {
        input: usage.prompt_tokens,
        output: usage.completion_tokens,
        cached: usage.prompt_tokens_details?.cached_tokens,
        reasoning: usage.completion_tokens_details?.reasoning_tokens,
      },
      cost: usage.cost,
    };
  }

  /** Puts a stream together by hand, and is strict about what may come when. */
  async gather(stream, heard) {
    const calls = [];
    let [text, reasoning, role, finish, usage, model] = ['', ''];
    for await (const chunk of stream) {
      model = chunk.model;
      usage = chunk.usage ?? usage;
      for (const { delta, finish_reason } of chunk.choices) {
        expect('chunks after the end', finish ?? null, null);
        finish = finish_reason;
        role = delta.role ?? role;
        text += delta.content ?? '';
        heard.push(delta.content ?? '');
        reasoning += delta.reasoning_content ?? '';
        for (const part of delta.tool_calls ?? []) {
          if (part.id) {
            expect('index of a new call', [part.index, part.type], [calls.length, 'function']);
            calls.push({ id: part.id, type: 'function', function: { name: part.function.name, arguments: '' } });
          } else {
            expect('index of arguments', [part.index, part.function.name], [calls.length - 1, undefined]);
          }
          calls[part.index].function.arguments += part.function.arguments;
        }
      }
    }
    expect('role', role, 'assistant');
    const message = { role, content: text || null, ...(calls.length && { tool_calls: calls }) };
    return { model, finish, text, reasoning, calls: parsed(calls), message, ...this.usage(usage) };
  }

  async usageUnasked() {
    const stream = await this.completions('plain').create({ ...this.body({}, this.prompt('hello')), stream: true });
    const usages = [];
    for await (const chunk of stream) usages.push(chunk.usage);
    expect('some chunks', usages.length > TOKENS, true);
    expect('chunks with usage', usages.filter(Boolean), []);
  }

  async models() {
    const models = [];
    for await (const model of this.client(OpenAI, '/v1', 'plain').models.list()) models.push([model.id, model.object]);
    expect('models', models, [[this.plan.model, 'model']]);
  }

  async runTools(way) {
    const nonce = await this.toolRunner(async (nonce, functions) => {
      const tools = this.toolsOf({ tools: ['weather', 'customer'] }).map(({ name, description, schema }) => ({
        type: 'function',
        function: { name, description, parameters: schema, parse: JSON.parse, function: functions[name] },
      }));
      const body = { model: this.plan.model, messages: this.prompt(nonce), tools, stream: way === 'streamed' };
      const runner = this.completions('plain').runTools(body, { maxChatCompletions: this.plan.turns });
      await runner.done();
      return runner.allChatCompletions().at(-1).choices[0].message.content;
    });
    this.only(await this.journal('plain', nonce), 2);
  }

  ownCases() {
    const mistral = new Mistral(this.plan);
    const tools = this.plan.asks['parallel tools'];
    return {
      'usage unasked': () => this.usageUnasked(),
      models: () => this.models(),
      'tool runner': (way) => this.runTools(way),
      "mistral's text": (way) => mistral.answered(way, 'mistral', {}),
      "mistral's tools": (way) => mistral.answered(way, 'mistral', tools),
    };
  }
}

/** Lists of parts are foreign to the SDK's types, but it has to hand them on as they are. */
class Mistral extends Checks {
  callId = /^[A-Za-z0-9]{9}$/;

  // Neither of the details is in Mistral's usage.
  usageOf({ input, output }) {
    return { input, output, cached: undefined, reasoning: undefined };
  }

  async ask(way, mock, ask, messages, heard) {
    const body = { ...this.body(ask, messages), stream: way === 'streamed' };
    const response = await this.completions(mock).create(body);
    const chunks = way === 'whole' ? [response] : await Array.fromAsync(response);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    const parts = choices.map((choice) => choice.message ?? choice.delta);
    let reasoning = '';
    for (const { content } of parts) {
      for (const piece of Array.isArray(content) ? content : [{ type: 'text', text: content ?? '' }]) {
        if (piece.type === 'thinking') reasoning += piece.thinking.map((thought) => thought.text).join('');
        else heard.push(piece.text);
      }
    }
    const calls = parsed(parts.flatMap((part) => part.tool_calls ?? []));
    const { model, usage } = chunks.at(-1);
    const finish = choices.at(-1).finish_reason;
    return { model, finish, text: heard.join(''), reasoning, calls, ...this.usage(usage) };
  }
}

const parsed = (calls = []) =>
  calls.map(({ id, function: { name, arguments: text } }) => ({ id, name, arguments: JSON.parse(text) }));

await main(Checks, VERSION);
