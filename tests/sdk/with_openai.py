"""The official `openai` package for Python, against mock-upstream."""

import json

import harness
import openai
from harness import Answer, Call, decimal, each, expect, opened, settle, valid


class OpenAI(harness.Suite):
    name = "openai"
    call_id = "call_.+"
    event_error = "APIError"
    cut_errors = dict.fromkeys(("whole", "streamed", "helper"), "APIConnectionError")

    def make_client(self, origin, key):
        http = openai.DefaultAsyncHttpxClient if self.is_async else openai.DefaultHttpxClient
        client = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return client(
            base_url=f"{origin}/v1",
            api_key=key,
            timeout=harness.CASE_S,
            http_client=http(event_hooks=self.hooks()),
        )

    def prompt(self, text, cached=False):
        # What is cached is the API's business.
        return [{"role": "user", "content": text}]

    def results(self, answer, contents):
        ids = [call.id for call in answer.calls]
        results = [
            {"role": "tool", "tool_call_id": id, "content": content}
            for id, content in zip(ids, contents, strict=True)
        ]
        return [answer.message, *results]

    def usage_of(self, usage):
        return {
            "input": usage["input"] + usage["cache_read"] + usage["cache_write"],
            "output": usage["output"],
            "cached": usage["cache_read"],
            "reasoning": usage["reasoning"],
        }

    def check_error(self, error, kind):
        expect("type", (error.type, error.body["type"]), (kind, kind))
        expect("body", set(error.body), {"message", "type", "param", "code"})
        expect("message", error.body["message"] in str(error), True)

    def body(self, ask, messages, model=None):
        body = {"model": model or self.plan["model"], "messages": messages}
        if "limit" in ask:
            body["max_completion_tokens"] = ask["limit"]
        tools = {name: self.plan["tools"][name] for name in ask.get("tools", [])}
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": name,
                        "description": tool["description"],
                        "parameters": tool["schema"],
                    },
                }
                for name, tool in tools.items()
            ]
        if "parallel" in ask:
            body["parallel_tool_calls"] = ask["parallel"]
        if "choice" in ask:
            choice = ask["choice"]
            body["tool_choice"] = (
                {"type": "function", "function": {"name": choice}} if choice in tools else choice
            )
        return body

    async def ask(self, way, mock, ask, messages, heard, key=None, model=None, retries=0):
        completions = self.client(mock, key, retries).chat.completions
        body = self.body(ask, messages, model)
        usage = {"stream_options": {"include_usage": True}}
        if way == "whole":
            completion = valid(await settle(completions.create(**body)))
            return self.answer(completion, completion._request_id)
        if way == "streamed":
            return await self.gather(
                await settle(completions.create(**body, **usage, stream=True)), heard
            )
        async with opened(completions.stream(**body, **usage)) as stream:
            async for event in each(stream):
                if event.type == "content.delta":
                    heard.append(event.delta)
            try:
                return self.answer(await settle(stream.get_final_completion()))
            except openai.LengthFinishReasonError as error:
                # The helper calls an answer at its limit an error, and has it.
                return self.answer(error.completion)

    def answer(self, completion, request_id=None):
        (choice,) = completion.choices
        message = choice.message
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
        ]
        reasoning = (message.model_extra or {}).get("reasoning_content", "")
        return Answer(
            completion.model,
            choice.finish_reason,
            message.content or "",
            reasoning,
            calls,
            *self.usage(completion.usage),
            message,
            request_id,
        )

    def usage(self, usage):
        if usage is None:
            return {}, None
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        expect("total tokens", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        counts = {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "cached": prompt and prompt.cached_tokens,
            "reasoning": completion and completion.reasoning_tokens,
        }
        return counts, decimal(usage.model_extra.get("cost"))

    async def gather(self, stream, heard):
        """Puts a stream together by hand, and is strict about what may come when."""
        text, reasoning, calls = "", "", []
        finish = usage = model = role = None
        async for chunk in each(stream):
            valid(chunk)
            model, usage = chunk.model, chunk.usage or usage
            for choice in chunk.choices:
                expect("chunks after the end", finish, None)
                delta, finish = choice.delta, choice.finish_reason
                role = delta.role or role
                text += delta.content or ""
                heard.append(delta.content or "")
                reasoning += (delta.model_extra or {}).get("reasoning_content", "")
                for part in delta.tool_calls or []:
                    if part.id:
                        expect(
                            "index of a new call", (part.index, part.type), (len(calls), "function")
                        )
                        calls.append(Call(part.id, part.function.name, ""))
                    else:
                        expect(
                            "index of arguments",
                            (part.index, part.function.name),
                            (len(calls) - 1, None),
                        )
                    calls[part.index].arguments += part.function.arguments
        expect("role", role, "assistant")
        expect("finish before usage", finish is not None, True)
        message = {"role": role, "content": text or None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ]
        calls = [Call(call.id, call.name, json.loads(call.arguments)) for call in calls]
        return Answer(model, finish, text, reasoning, calls, *self.usage(usage), message)

    async def usage_unasked(self, way):
        body = self.body({}, self.prompt("hello"))
        stream = await settle(self.client("plain").chat.completions.create(**body, stream=True))
        usages = [chunk.usage async for chunk in each(stream)]
        expect("some chunks", len(usages) > harness.TOKENS, True)
        expect("chunks with usage", [usage for usage in usages if usage], [])

    async def models(self, way):
        models = [valid(model) async for model in each(self.client("plain").models.list())]
        expect(
            "models",
            [(model.id, model.object) for model in models],
            [(self.plan["model"], "model")],
        )

    def own_cases(self):
        mistral = Mistral(self.plan, self.is_async)
        tools = self.plan["asks"]["parallel tools"]
        return {
            "usage unasked": self.usage_unasked,
            "models": self.models,
            "mistral's text": lambda way: mistral.answered(way, "mistral", {}),
            "mistral's tools": lambda way: mistral.answered(way, "mistral", tools),
        }


class Mistral(OpenAI):
    """Lists of parts are foreign to the SDK's types, but it has to hand them on as they are."""

    call_id = "[A-Za-z0-9]{9}"

    def usage_of(self, usage):
        # Neither of the details is in Mistral's usage.
        return {
            "input": usage["input"],
            "output": usage["output"],
            "cached": None,
            "reasoning": None,
        }

    async def ask(self, way, mock, ask, messages, heard):
        completions = self.client(mock).chat.completions
        response = await settle(
            completions.create(**self.body(ask, messages), stream=way == "streamed")
        )
        chunks = [response] if way == "whole" else [chunk async for chunk in each(response)]
        choices = [choice for chunk in chunks for choice in chunk.choices]
        parts = [choice.message if way == "whole" else choice.delta for choice in choices]
        text = reasoning = ""
        for content in (part.content for part in parts):
            for piece in (
                content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
            ):
                if piece["type"] == "thinking":
                    reasoning += "".join(thought["text"] for thought in piece["thinking"])
                else:
                    text += piece["text"]
                    heard.append(piece["text"])
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for part in parts
            for call in part.tool_calls or []
        ]
        last, finish = chunks[-1], choices[-1].finish_reason
        return Answer(last.model, finish, text, reasoning, calls, *self.usage(last.usage), None)


if __name__ == "__main__":
    harness.main(OpenAI, openai.__version__)
