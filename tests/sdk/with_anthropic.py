"""The official `anthropic` package for Python, against mock-upstream."""

import functools
import json
import secrets

import anthropic
import harness
from harness import Answer, Call, decimal, each, expect, opened, settle, valid


class Anthropic(harness.Suite):
    name = "anthropic"
    call_id = "toolu_.+"
    event_error = "APIStatusError"
    # The error of the HTTP client itself comes through where a stream is read.
    cut_errors = {
        "whole": "APIConnectionError",
        "streamed": "RemoteProtocolError",
        "helper": "RemoteProtocolError",
    }

    def make_client(self, origin, key):
        http = anthropic.DefaultAsyncHttpxClient if self.is_async else anthropic.DefaultHttpxClient
        client = anthropic.AsyncAnthropic if self.is_async else anthropic.Anthropic
        return client(
            base_url=origin,
            api_key=key,
            timeout=harness.CASE_S,
            http_client=http(event_hooks=self.hooks()),
        )

    def prompt(self, text, cached=False):
        block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        return [{"role": "user", "content": [block] if cached else text}]

    def results(self, answer, contents):
        ids = [call.id for call in answer.calls]
        results = [
            {"type": "tool_result", "tool_use_id": id, "content": content}
            for id, content in zip(ids, contents, strict=True)
        ]
        return [answer.message, {"role": "user", "content": results}]

    def usage_of(self, usage):
        return {
            "input": usage["input"],
            "output": usage["output"],
            "cache read": usage["cache_read"],
            "cache write": usage["cache_write"],
        }

    def check_error(self, error, kind):
        expect("type", (error.type, error.body["error"]["type"]), (kind, kind))
        expect("body", (error.body["type"], error.body["request_id"]), ("error", error.request_id))
        expect("message", error.body["error"]["message"] in str(error), True)

    def body(self, ask, messages, model=None):
        body = {"model": model or self.plan["model"], "messages": messages}
        body["max_tokens"] = ask.get("limit", 100)
        tools = {name: self.plan["tools"][name] for name in ask.get("tools", [])}
        if tools:
            body["tools"] = [
                {"name": name, "description": tool["description"], "input_schema": tool["schema"]}
                for name, tool in tools.items()
            ]
            choice = ask.get("choice", "auto")
            choice = {"type": "tool", "name": choice} if choice in tools else {"type": choice}
            if choice["type"] == "required":
                choice["type"] = "any"
            if not ask.get("parallel", True):
                choice["disable_parallel_tool_use"] = True
            body["tool_choice"] = choice
        return body

    async def ask(self, way, mock, ask, messages, heard, key=None, model=None, retries=0):
        client = self.client(mock, key, retries).messages
        body = self.body(ask, messages, model)
        if way == "whole":
            message = valid(await settle(client.create(**body)))
            return self.answer(message, message.usage, message._request_id)
        if way == "streamed":
            return await self.gather(await settle(client.create(**body, stream=True)), heard)
        usage = None
        async with opened(client.stream(**body)) as stream:
            async for event in each(stream):
                if event.type == "text":
                    heard.append(event.text)
                elif event.type == "message_delta":
                    usage = event.usage
            message = await settle(stream.get_final_message())
            request_id = stream.request_id
        # The helper keeps the counts of the usage, but no cost.
        expect("output tokens", message.usage.output_tokens, usage.output_tokens)
        return self.answer(message, usage, request_id)

    def answer(self, message, usage, request_id=None):
        blocks = [block.to_dict() for block in message.content]
        return self.of_blocks(message.model, message.stop_reason, blocks, usage, request_id)

    def of_blocks(self, model, finish, blocks, usage, request_id=None):
        def joined(kind):
            return "".join(block[kind] for block in blocks if block["type"] == kind)

        signatures = [block["signature"] for block in blocks if block["type"] == "thinking"]
        expect("unsigned thinking", [signature for signature in signatures if not signature], [])
        counts = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cache read": usage.cache_read_input_tokens,
            "cache write": usage.cache_creation_input_tokens,
        }
        return Answer(
            model,
            finish,
            joined("text"),
            joined("thinking"),
            [
                Call(block["id"], block["name"], block["input"])
                for block in blocks
                if block["type"] == "tool_use"
            ],
            counts,
            decimal(usage.model_extra.get("cost")),
            {"role": "assistant", "content": blocks},
            request_id,
        )

    async def gather(self, stream, heard):
        """Puts a stream together by hand, and is strict about what may come when."""
        blocks, open_index, model, delta, usage = [], None, None, None, None
        types = []
        async for event in each(stream):
            valid(event)
            types.append(event.type)
            if event.type == "message_start":
                expect("content at the start", event.message.content, [])
                model = event.message.model
            elif event.type == "content_block_start":
                expect("index and open block", (event.index, open_index), (len(blocks), None))
                open_index = event.index
                blocks.append(event.content_block.to_dict())
                if event.content_block.type == "tool_use":
                    expect("input at the start", event.content_block.input, {})
                    blocks[-1]["input"] = ""
            elif event.type == "content_block_delta":
                expect("index of the delta", event.index, open_index)
                block, part = blocks[-1], event.delta
                if part.type == "text_delta":
                    block["text"] += part.text
                    heard.append(part.text)
                elif part.type == "thinking_delta":
                    block["thinking"] += part.thinking
                elif part.type == "signature_delta":
                    block["signature"] = part.signature
                else:
                    block["input"] += part.partial_json
            elif event.type == "content_block_stop":
                expect("index of the stop", event.index, open_index)
                open_index = None
                if blocks[-1]["type"] == "tool_use":
                    blocks[-1]["input"] = json.loads(blocks[-1]["input"])
            elif event.type == "message_delta":
                delta, usage = event.delta, event.usage
        expect(
            "start and end",
            (types[0], types[-2:]),
            ("message_start", ["message_delta", "message_stop"]),
        )
        expect("starts", types.count("message_start"), 1)
        return self.of_blocks(model, delta.stop_reason, blocks, usage)

    async def count_tokens(self, way):
        """The count is that of the same request's usage."""
        nonce = secrets.token_hex(16)
        body = self.body(self.plan["asks"]["parallel tools"], self.prompt(nonce))
        messages = self.client("plain").messages
        message = await settle(messages.create(**body))
        del body["max_tokens"]
        count = valid(await settle(messages.count_tokens(**body)))
        entry = self.only(self.journal("plain", nonce))
        expect(
            "tokens",
            (count.input_tokens, message.usage.input_tokens),
            (entry["usage"]["input"],) * 2,
        )

    async def models(self, way):
        models = [model async for model in each(self.client("plain").models.list())]
        expect(
            "models", [(model.id, model.type) for model in models], [(self.plan["model"], "model")]
        )
        expect("created", models[0].created_at.year, 1970)

    async def tool_runner(self, way, **options):
        nonce, called = secrets.token_hex(16), []

        def weather(city: str, days: int) -> str:
            """The weather of a city"""
            called.append(("weather", {"city": city, "days": days}))
            return "21 degrees"

        def customer(id: str) -> str:
            """A customer by id"""
            called.append(("customer", {"id": id}))
            return "Ada"

        functions = [weather, customer]
        if self.is_async:
            tools = [anthropic.beta_async_tool(as_async(function)) for function in functions]
        else:
            tools = [anthropic.beta_tool(function) for function in functions]
        runner = self.client("plain").beta.messages.tool_runner(
            model=self.plan["model"],
            max_tokens=100,
            messages=self.prompt(nonce),
            tools=tools,
            stream=way == "streamed",
            max_iterations=self.plan["turns"],
            **options,
        )
        async for turn in each(runner):
            message = await settle(turn.get_final_message()) if way == "streamed" else turn
        text = "".join(block.text for block in message.content if block.type == "text")
        self.end_of_runner(nonce, text, called)
        if options:
            self.only(self.journal("plain", nonce), 2)

    def own_cases(self):
        return {
            "count tokens": self.count_tokens,
            "models": self.models,
            "tool runner": lambda way: self.tool_runner(way, thread=False),
            "threaded tool runner": self.tool_runner,
        }


def as_async(function):
    """The function for the async runner, with the name and signature that the SDK makes the schema of."""

    @functools.wraps(function)
    async def awaited(*args, **kwargs):
        return function(*args, **kwargs)

    return awaited


if __name__ == "__main__":
    harness.main(Anthropic, anthropic.__version__)
