// The official `@anthropic-ai/sdk` package for Node, against mock-upstream.

import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import { VERSION } from '@anthropic-ai/sdk/version';
import { expect, main, nonce, Suite } from './harness.mjs';

class Checks extends Suite {
  name = 'anthropic';
  callId = /^toolu_./;
  helperError = 'AnthropicError';

  sdk(mock, options) {
    return this.client(Anthropic, '', mock, options);
  }

  prompt(text, cached = false) {
    const block = { type: 'text', text, cache_control: { type: 'ephemeral' } };
    return [{ role: 'user', content: cached ? [block] : text }];
  }

  results(answer, contents) {
    const results = answer.calls.map(({ id }, i) => ({ type: 'tool_result', tool_use_id: id, content: contents[i] }));
    return [answer.message, { role: 'user', content: results }];
  }

  usageOf({ input, output, cache_read, cache_write }) {
    return { input, output, cacheRead: cache_read, cacheWrite: cache_write };
  }

  checkError(error, kind) {
    const { type, message } = error.error.error;
    expect('body', [error.error.type, type, error.error.request_id], ['error', kind, error.requestID]);
    expect('message', error.message.includes(message), true);
  }

  body(ask, messages, { model = this.plan.model } = {}) {
    const body = { model, messages, max_tokens: ask.limit ?? 100 };
    const tools = this.toolsOf(ask);
    if (tools.length) {
      body.tools = tools.map(({ name, description, schema }) => ({ name, description, input_schema: schema }));
      const choice = ask.choice ?? 'auto';
      const type = { required: 'any' }[choice] ?? choice;
      body.tool_choice = ask.tools.includes(choice) ? { type: 'tool', name: choice } : { type };
      if (ask.parallel === false) body.tool_choice.disable_parallel_tool_use = true;
    }
    return body;
  }

  async ask(way, mock, ask, messages, heard, options = {}) {
    const client = this.sdk(mock, options).messages;
    const body = this.body(ask, messages, options);
    if (way === 'whole') {
      const message = await client.create(body);
      return this.answer(message, message.usage, message._request_id);
    }
    if (way === 'streamed') return this.gather(await client.create({ ...body, stream: true }), heard);
    let usage;
    const stream = client.stream(body);
    stream.on('text', (delta) => heard.push(delta));
    stream.on('streamEvent', (event) => (usage = event.type === 'message_delta' ? event.usage : usage));
    const message = await stream.finalMessage();
    // The helper keeps the counts of the usage, but no cost.
    expect('output tokens', message.usage.output_tokens, usage.output_tokens);
    return this.answer(message, usage, stream.request_id);
  }

  answer({ model, stop_reason: finish, content }, usage, requestId) {
    const joined = (type) => content.filter((block) => block.type === type).map((block) => block[type]).join('');
    expect('unsigned thinking', content.filter((block) => block.type === 'thinking' && !block.signature), []);
    const calls = content
      .filter((block) => block.type === 'tool_use')
      .map(({ id, name, input }) => ({ id, name, arguments: input }));
    return {
      model,
      finish,
      text: joined('text'),
      reasoning: joined('thinking'),
      calls,
      usage: {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cacheRead: usage.cache_read_input_tokens,
        cacheWrite: usage.cache_creation_input_tokens,
      },
      cost: usage.cost,
      message: { role: 'assistant', content },
      requestId,
    };
  }

  /** Puts a stream together by hand, and is strict about what may come when. */
  async gather(stream, heard) {
    const [content, types] = [[], []];
    let [open, model, delta, usage] = [null];
    for await (const event of stream) {
      types.push(event.type);
      const block = content.at(-1);
      if (event.type === 'message_start') {
        expect('content at the start', event.message.content, []);
        model = event.message.model;
      } else if (event.type === 'content_block_start') {
        expect('index and open block', [event.index, open], [content.length, null]);
        open = event.index;
        content.push({ ...event.content_block });
        if (event.content_block.type === 'tool_use') {
          expect('input at the start', event.content_block.input, {});
          content.at(-1).input = '';
        }
      } else if (event.type === 'content_block_delta') {
        expect('index of the delta', event.index, open);
        const part = event.delta;
        if (part.type === 'text_delta') {
          block.text += part.text;
          heard.push(part.text);
        } else if (part.type === 'thinking_delta') block.thinking += part.thinking;
        else if (part.type === 'signature_delta') block.signature = part.signature;
        else block.input += part.partial_json;
      } else if (event.type === 'content_block_stop') {
        expect('index of the stop', event.index, open);
        open = null;
        if (block.type === 'tool_use') block.input = JSON.parse(block.input);
      } else if (event.type === 'message_delta') {
        ({ delta, usage } = event);
      }
    }
    expect('start and end', [types[0], ...types.slice(-2)], ['message_start', 'message_delta', 'message_stop']);
    expect('starts', types.filter((type) => type === 'message_start').length, 1);
    return this.answer({ model, stop_reason: delta.stop_reason, content }, usage);
  }

  /** The count is that of the same request's usage. */
  async countTokens() {
    const prompt = nonce();
    const { max_tokens, ...body } = this.body(this.plan.asks['parallel tools'], this.prompt(prompt));
    const { messages } = this.sdk('plain');
    const message = await messages.create({ ...body, max_tokens });
    const count = await messages.countTokens(body);
    const entry = this.only(await this.journal('plain', prompt));
    expect('tokens', [count.input_tokens, message.usage.input_tokens], [entry.usage.input, entry.usage.input]);
  }

  async models() {
    const models = [];
    for await (const model of this.sdk('plain').models.list()) models.push([model.id, model.type]);
    expect('models', models, [[this.plan.model, 'model']]);
  }

  async runTools(way, options = {}) {
    const prompt = await this.toolRunner(async (prompt, functions) => {
      const tools = this.toolsOf({ tools: ['weather', 'customer'] }).map(({ name, description, schema }) =>
        betaTool({ name, description, inputSchema: schema, run: functions[name] }),
      );
      const body = { model: this.plan.model, max_tokens: 100, messages: this.prompt(prompt), tools };
      const runner = this.sdk('plain').beta.messages.toolRunner({
        ...body,
        stream: way === 'streamed',
        max_iterations: this.plan.turns,
        ...options,
      });
      let message;
      for await (const turn of runner) message = way === 'streamed' ? await turn.finalMessage() : turn;
      return this.answer(message, message.usage).text;
    });
    if ('thread' in options) this.only(await this.journal('plain', prompt), 2);
  }

  ownCases() {
    return {
      'count tokens': () => this.countTokens(),
      models: () => this.models(),
      'tool runner': (way) => this.runTools(way, { thread: false }),
      'threaded tool runner': (way) => this.runTools(way),
    };
  }
}

await main(Checks, VERSION);
