"""dbt runs in this process, shares the open DuckDB file, says what failed, and leaves nothing behind."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from signalroom.errors import ConfigError, DataError, RetryableError
from signalroom.models.artifacts import BuildResult, ModelResult, TestResult, read_results, require_success
from signalroom.models.dbt import _by_reference, build, run
from signalroom.workspace.settings import Secret

PROJECT = """
name: tiny
version: "1.0"
config-version: 2
profile: whatever
model-paths: [models]
vars: {factor: 2}
models:
  tiny: {+materialized: table}
"""
SCHEMA = """
version: 2
models:
  - name: doubled
    columns:
      - {name: n, data_tests: [unique, {not_null: {config: {severity: warn}}}]}
"""


class Tiny:
    """A workspace with two models, its DuckDB file open in this process as the writer has it."""

    def __init__(self, root):
        self.models, self.target, self.file = root / "ws" / "models", root / "state" / "dbt", root / "w.duckdb"
        (self.models / "models").mkdir(parents=True)
        (self.models / "dbt_project.yml").write_text(PROJECT)
        self.write("schema.yml", SCHEMA)
        self.write("doubled.sql", "select n * {{ var('factor') }} as n from raw.numbers")
        self.write("total.sql", "select sum(n) as total from {{ ref('doubled') }}")
        self.writer = duckdb.connect(str(self.file))
        self.writer.execute("SET memory_limit = '500MB'; CREATE SCHEMA raw; CREATE TABLE raw.numbers (n integer)")
        self.writer.execute("INSERT INTO raw.numbers VALUES (1), (2)")

    def write(self, name, text):
        (self.models / "models" / name).write_text(text)

    def profile(self, **more):
        return {"type": "duckdb", "path": str(self.file), "schema": "main", "threads": 2, **more}

    def build(self, how=build, profile=None, **options):
        return how(self.models, profile or self.profile(), target_dir=self.target, **options)

    def value(self, sql):
        return self.writer.execute(sql).fetchone()[0]


@pytest.fixture
def tiny(tmp_path):
    made = Tiny(tmp_path)
    yield made
    made.writer.close()


def files_below(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_build_shares_the_open_file_and_says_what_it_did(tiny, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    environment, before = dict(os.environ), files_below(tiny.models.parent)
    first = tiny.build()
    assert [(model.name, model.status, model.file) for model in first.models] == [
        ("doubled", "success", "models/doubled.sql"),
        ("total", "success", "models/total.sql"),
    ]
    assert sorted((test.name, test.status, test.failures) for test in first.tests) == [
        ("not_null_doubled_n", "pass", 0),
        ("unique_doubled_n", "pass", 0),
    ]
    assert first.seconds >= sum(model.seconds for model in first.models) > 0
    assert first.notes == ()
    assert tiny.value("SELECT total FROM total") == 6
    assert tiny.value("SELECT current_setting('memory_limit')").startswith("476")  # the writer's own, shared
    # Changed files are seen, unchanged ones are not parsed again, variables and selections reach dbt.
    tiny.write("total.sql", "select max(n) as total from {{ ref('doubled') }}")
    second = tiny.build(vars={"factor": 5}, select=["doubled", "total"], full_refresh=True)
    assert tiny.value("SELECT total FROM total") == 10
    assert [model.name for model in second.models] == ["doubled", "total"]
    assert [model.name for model in tiny.build(select="total").models] == ["total"]
    # Nothing outside the target, nothing in the environment, nothing printed, the working folder as it was.
    after = files_below(tiny.models.parent)
    assert [str(path) for path in after if after[path] != before.get(path)] == ["models/models/total.sql"]
    assert dict(os.environ) == environment
    assert Path.cwd() == tmp_path
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_file_is_free_once_the_writer_closes(tiny):
    tiny.build()
    tiny.writer.close()
    other = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('select total from total').fetchone()[0])"
    done = subprocess.run([sys.executable, "-c", other, str(tiny.file)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6"


@pytest.mark.slow
def test_a_build_runs_beside_an_open_merge_and_off_the_main_thread(tiny):
    merging = tiny.writer.cursor()
    merging.begin()
    merging.execute("INSERT INTO raw.numbers VALUES (100)")
    merging.execute("CREATE TABLE raw.more AS SELECT 1 AS n")
    results = []
    thread = threading.Thread(target=lambda: results.append(tiny.build()))
    thread.start()
    thread.join()
    assert [model.status for model in results[0].models] == ["success", "success"]
    assert tiny.value("SELECT total FROM total") == 6
    merging.commit()
    tiny.build()
    assert tiny.value("SELECT total FROM total") == 206


@pytest.mark.slow
def test_a_failing_model_is_named_with_its_file_and_the_databases_words(tiny):
    tiny.build()
    tiny.write("doubled.sql", "select wrong_column as n from raw.numbers")
    with pytest.raises(DataError) as caught:
        tiny.build()
    message = str(caught.value)
    assert message.startswith("Model doubled (models/doubled.sql) failed: Binder Error:")
    assert '"wrong_column" not found' in message
    assert "\n" not in message
    assert "compiled code at" not in message
    assert tiny.value("SELECT total FROM total") == 6
    result = tiny.build(run)
    assert {model.name: model.status for model in result.models} == {"doubled": "error", "total": "skipped"}
    assert {test.status for test in result.tests} == {"skipped"}


@pytest.mark.slow
def test_a_failing_test_is_named_with_its_rows_and_a_warning_is_a_note(tiny):
    tiny.writer.execute("INSERT INTO raw.numbers VALUES (1), (2), (2), (NULL)")
    with pytest.raises(DataError, match=r"Test unique_doubled_n \(models/schema.yml\) found 2 rows it does not allow"):
        tiny.build()
    tiny.writer.execute("DELETE FROM raw.numbers; INSERT INTO raw.numbers VALUES (1), (NULL)")
    assert tiny.build().notes == ("Test not_null_doubled_n (models/schema.yml) warns: 1 row.",)


@pytest.mark.slow
def test_what_cannot_be_read_is_a_config_error_in_dbts_words(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"is not a dbt project: it has no dbt_project\.yml\. .*signalroom init"):
        build(tmp_path, tiny.profile(), target_dir=tiny.target)
    tiny.write("total.sql", "select * from {{ ref('nobody') }}")
    with pytest.raises(ConfigError, match=r"dbt cannot read the models: .*'nobody' which was not found"):
        tiny.build()
    tiny.write("total.sql", "select {{ 1 +")
    with pytest.raises(ConfigError, match=r"models/total\.sql"):
        tiny.build()
    tiny.write("total.sql", "select 1 as total")
    with pytest.raises(ConfigError, match=r"cannot share the open DuckDB file: .*no config"):
        tiny.build(profile=tiny.profile(config_options={"threads": 1}))
    tiny.build()


@pytest.mark.slow
def test_another_process_that_owns_the_file_is_waited_for(tiny):
    tiny.writer.close()
    owner = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", owner, str(tiny.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(RetryableError, match="Another process owns the DuckDB file"):
            tiny.build()
        process.stdin.close()


@pytest.mark.slow
def test_secrets_are_on_no_disk_in_no_log_and_in_no_error(tiny, caplog):
    canary = "12345-canary"
    caplog.set_level(logging.DEBUG)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        tiny.build(profile=tiny.profile(flights={"access_token_name": canary}))
        assert [
            path for path in tiny.target.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()
        ] == []
        assert "env_var('DBT_ENV_SECRET_SIGNALROOM_0')" in (tiny.target / "profiles.yml").read_text()
        tiny.write("doubled.sql", f"select '{canary}'::integer as n")  # a database repeats what it was told
        result = tiny.build(run, profile=tiny.profile(flights={"access_token_name": canary}))
    assert "Could not convert string '*****'" in result.models[0].message
    assert "dbt LogModelResult" in caplog.text
    assert canary not in caplog.text + printed.getvalue() + str(result)


def test_a_profile_refers_to_its_secrets():
    output, secrets = _by_reference(
        {
            "type": "postgres",
            "host": "db.example.com",
            "port": 5432,
            "user": "reader",
            "password": Secret("env:DB", "0042"),
            "search_path": "{{ odd }}",
            "keepalives_idle": 0,
            "settings": {"s3_secret_access_key": "abc", "region": "eu"},
        }
    )
    assert output["host"] == "db.example.com"
    assert output["port"] == 5432
    assert output["threads"] == 4
    assert output["settings"]["region"] == "eu"
    assert sorted(secrets.values()) == ["0042", "abc", "{{ odd }}"]
    assert not [value for value in secrets.values() if value in json.dumps(output)]
    assert all(name.startswith("DBT_ENV_SECRET_SIGNALROOM_") for name in secrets)
    assert _by_reference({"type": "postgres"})[0]["password"] == ""


def failed(*models, tests=()):
    return BuildResult(tuple(models), tuple(tests), 1.0)


def model(name, message, status="error"):
    return ModelResult(name, status, None, 0.1, message, f"models/{name}.sql")


def test_the_first_failure_speaks_and_counts_the_others():
    require_success(failed(model("a", "", "success"), model("b", "", "skipped")))
    with pytest.raises(DataError) as caught:
        require_success(failed(model("a", "no such table"), model("b", "x"), tests=[TestResult("t", "fail", 3, "")]))
    assert caught.value.message == "Model a (models/a.sql) failed: no such table. 2 more failed: b, t."
    with pytest.raises(DataError, match=r"Test t \(\) could not run: no such column\. Mend its SQL"):
        require_success(failed(tests=[TestResult("t", "error", 0, "no such column")]))


@pytest.mark.parametrize(
    "words",
    [
        "deadlock detected",
        "server closed the connection unexpectedly",
        "TransactionContext Error: Conflict on tuple deletion!",
        "the database system is shutting down",
        "canceling statement due to lock timeout",
    ],
)
def test_what_passes_may_be_tried_again(words):
    with pytest.raises(RetryableError, match=words):
        require_success(failed(model("a", words)))


def test_results_are_read_as_records():
    node = SimpleNamespace(name="a", resource_type="model", original_file_path="models/a.sql")
    words = 'Database Error in model a (models/a.sql)\n  relation "x" does not exist\n  LINE 1: from x\n      ^\n'
    rows = [{"rows_affected": 12}, {"rows_affected": -1}, {"rows_affected": "0"}, {}, None]
    said = {"status": "error", "message": f"{words}compiled code at /x", "execution_time": 1, "failures": None}
    results = [SimpleNamespace(node=node, adapter_response=response, **said) for response in rows]
    found = read_results(results, 2.0, lambda text: text.replace("relation", "thing"))
    assert [one.rows for one in found.models] == [12, None, 0, None, None]
    assert found.models[0].message == 'thing "x" does not exist LINE 1: from x'
