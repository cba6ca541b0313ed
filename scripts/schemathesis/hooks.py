"""What the document cannot say, so that schemathesis does not ask it of the bank."""

import schemathesis


@schemathesis.hook
def map_body(context, body):
    """To JSON Schema 100.0 is an integer. The bank takes 100 alone: no amount goes through a float."""
    if isinstance(body, dict):
        return {name: whole(value) for name, value in body.items()}
    return body


def whole(value):
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, kwargs):
    one_precondition(case.headers)
    judged_at_once(case)
    short_waits(case.query, case.operation.path)


def one_precondition(headers):
    """A command has one at most."""
    names = {name.lower(): name for name in headers or {}}
    if {"if-match", "if-none-match"} <= names.keys():
        del headers[names["if-none-match"]]


def judged_at_once(case):
    """`Prefer: respond-async` stores a command first and judges it later: 202, whatever the amount."""
    if case.meta and case.meta.generation.mode.is_negative:
        for name in [name for name in case.headers or {} if name.lower() == "prefer"]:
            del case.headers[name]


def short_waits(query, path):
    """A position that the log has not reached is waited for, for seconds unless the request says so."""
    after = (query or {}).get("after")
    if not isinstance(after, int) or after <= 10 or "within" in query:
        return
    if path.endswith(("/{id}", "/balance", "/credit-limit")):
        query["within"] = 20
    elif path.endswith("/statement"):
        query["after"] = after % 10
