# syntax=docker/dockerfile:1
# The worker: `signalroom worker` for the workspace mounted at /workspace, with its health page on port 8080.
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /signalroom
# Dependencies change less often than the code: they are a layer of their own, from the hashed lock alone.
COPY requirements/image.txt requirements/image.txt
RUN /signalroom/bin/python -m pip install --require-hashes --no-deps -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /signalroom/bin/python -m pip install --no-deps --no-build-isolation . \
    && /signalroom/bin/python -m compileall -q /signalroom/lib

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin signalroom \
    && install -d -o signalroom -g signalroom /workspace
COPY --from=build /signalroom /signalroom
ENV PATH=/signalroom/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /workspace
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=2s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
ENTRYPOINT ["signalroom"]
CMD ["worker", "--host", "0.0.0.0"]
