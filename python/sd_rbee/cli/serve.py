"""`sd-rbee serve`, and the names that hives start a worker by."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sd_rbee.cli.failures import message
from sd_rbee.cli.options import State, debug_option
from sd_rbee.cli.worker_settings import LEVELS, VERSIONS, Flags, configure_logs, worker_settings


def _print_build(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo("release")
        context.exit()


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's own
    return click.option(*names, show_envvar="envvar" in attributes, **attributes)


class _ServeCommand(click.Command):
    """Tells the log file too what is wrong with a command line: hives do not all keep what goes to stderr."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words that are left."""
        try:
            return super().parse_args(ctx, list(args))
        except click.UsageError as error:
            self._tell_file(error, args)
            raise

    def _tell_file(self, error: click.UsageError, args: list[str]) -> None:
        names = ("worker_id", "port", "log_level", "log_format", "log_file")
        options = [option for option in self.params if option.name in names]
        # Every other word of the command line is passed over, and so is what these say wrongly.
        lenient = click.Command(
            self.name, params=options, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
        )
        told = lenient.make_context(self.name, list(args), resilient_parsing=True).params
        # What is wrong with the command line is said in any case; that its log file is wrong too can wait.
        with contextlib.suppress(OSError):
            configure_logs(**told)
            _tell_file(message(error, self.params))


def _tell_file(text: str) -> None:
    from sd_rbee import logs

    logs.tell_file(text)


@click.command(cls=_ServeCommand)
@_option("--worker-id", envvar="WORKER_ID", help="Name at the hive; sd-worker-PORT if left out.")
@_option("--sd-version", envvar="SD_VERSION", type=click.Choice(VERSIONS), help="What the model is.")
@_option("--port", envvar="PORT", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0: a free one.")
@_option("--host", envvar="SD_RBEE_HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@_option("--callback-url", envvar="CALLBACK_URL", help="Where a hive hears that the worker is ready.")
@_option("--hive-url", "--queen-url", "queen_url", help="Where a queen hears heartbeats.")
@_option("--require-callback", is_flag=True, help="End if the hive does not take the ready call.")
@_option(
    "--model-path", "--model", "model", envvar="MODEL_PATH", help="A folder, a file, an alias, or a pulled model's id."
)
@_option("--vae", metavar="VAE", help="An AutoencoderKL or AutoencoderTiny instead of the model's own.")
@_option("--preview-vae", metavar="VAE", help="One that decodes previews, an AutoencoderTiny best.")
@_option("--prediction-type", help="epsilon, v_prediction or sample, if the model says it wrongly.")
@_option("--variant", help="Which of a folder's weights to prefer, such as fp16.")
@_option("--model-ref", help="What the hive calls the model.")
@_option("--backend", type=click.Choice(["cpu", "cuda", "metal"]), help="Kind of device; auto if left out.")
@_option("--gpu-device", "--device", "device", type=click.IntRange(0), help="Index of the device of that kind.")
@_option("--cuda-device", envvar="CUDA_DEVICE", type=click.IntRange(0), help="Index of a CUDA device.")
@_option("--metal-device", envvar="METAL_DEVICE", type=click.IntRange(0), help="Index of a Metal device.")
@_option("--rocm-device", envvar="ROCM_DEVICE", type=click.IntRange(0), help="Always refused: no build has ROCm.")
@_option("--use-f16", envvar="USE_F16", is_flag=True, help="Compute in f16; needs a GPU.")
@_option("--use-flash-attn", envvar="USE_FLASH_ATTN", is_flag=True, help="Use flash attention; needs a CUDA build.")
@_option(
    "--threads",
    "num_threads",
    type=click.IntRange(1, 1024),
    help="Threads that compute; as SD_RBEE_THREADS if left out.",
)
@_option("--queue-size", type=click.IntRange(1, 10_000), default=16, show_default=True, help="Jobs that may wait.")
@_option("--max-pixels", type=click.IntRange(1), default=2048 * 2048, show_default=True, help="Height times width.")
@_option("--max-steps", type=click.IntRange(1, 1000), default=150, show_default=True, help="Steps of a picture.")
@_option("--max-batch", type=click.IntRange(1, 128), default=8, show_default=True, help="Pictures of a request.")
@_option("--max-body-mb", type=click.IntRange(1, 1024), default=32, show_default=True, help="Megabytes of a request.")
@_option("--keep-seconds", type=click.FloatRange(0), default=600, show_default=True, help="How long results are kept.")
@_option("--keep-jobs", type=click.IntRange(1, 10_000), default=64, show_default=True, help="Results kept at most.")
@_option("--keep-alive-seconds", type=click.FloatRange(0.1), default=15, show_default=True, help="Silence of a stream.")
@_option("--patience-seconds", type=click.FloatRange(0.1), default=30, show_default=True, help="With a stalled client.")
@_option("--heartbeat-seconds", type=click.FloatRange(0.1), default=30, show_default=True, help="Between heartbeats.")
@_option("--allow-origin", "allow_origins", multiple=True, help="A web origin that may call; may be repeated.")
@_option("--allow-host", "allow_hosts", multiple=True, help="A host name to answer to; may be repeated.")
@_option("--insecure", is_flag=True, help="Listen beyond this machine without a token.")
@_option("--local-mode", is_flag=True, help="Listen on 127.0.0.1, ask for no token.")
@_option("--log-level", type=click.Choice(LEVELS), help="As RUST_LOG; info if neither is given.")
@_option("--log-format", envvar="LLORCH_LOG_FORMAT", type=click.Choice(["text", "json"]), default="text")
@_option("--log-file", type=click.Path(dir_okay=False, path_type=Path), help="Write logs here too.")
@click.option(
    "--build-info", is_flag=True, is_eager=True, expose_value=False, callback=_print_build, help="Print the build."
)
@debug_option
@click.pass_context
def serve(context: click.Context, /, **_: object) -> None:
    """Serve a model over HTTP, for a hive or by hand.

    Without flags: the embedded model on http://127.0.0.1:8081. The token is SD_RBEE_API_TOKEN.
    """
    configure_logs(**context.params)
    try:
        _serve(Flags(**context.params), context.ensure_object(State).backends)
    except Exception as error:
        _tell_file(message(error, context.command.params))
        raise


def _serve(flags: Flags, backends: tuple[str, ...]) -> None:
    try:
        from sd_rbee.server.process import address, bind, serve
    except ModuleNotFoundError as error:
        raise click.ClickException(f'{error.name} is not installed: pip install "sd-rbee[serve]"') from None
    settings = worker_settings(flags, backends)
    listener = bind(settings.host, settings.port)
    said = f"sd-rbee: serving {settings.model_version} on {address(listener)}"
    # Whoever reads it may send a signal at once.
    serve(settings, listener, on_begun=lambda: click.echo(said, err=True))
