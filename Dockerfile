# docker build -t sfss . && docker run -p 8255:8255 -v sfss:/data sfss
FROM python:3.13.9-slim-bookworm

WORKDIR /src
COPY setup.py pyproject.toml README.rst LICENSE buildout.cfg ./
COPY sfss ./sfss
# The versions that are tested together, and no others.
RUN sed -n '/^\[versions\]/,$ s/ = /==/p' buildout.cfg > constraints.txt \
    && pip install --no-cache-dir --constraint constraints.txt . \
    && rm -rf /src && useradd --system sfss && install -d -o sfss -g sfss /data

WORKDIR /data
USER sfss
VOLUME /data
EXPOSE 8255
ENV SFSS_HOST=0.0.0.0 SFSS_PORT=8255 SFSS_DATA=/data SFSS_WORKERS=auto
# When you stop it, give it longer than --drain-timeout: docker stop -t 100
STOPSIGNAL SIGTERM
# An answer, and not only a connection: a worker that hangs is not well. (It asks over plain HTTP: with
# SFSS_SSL say another one.)
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD \
    ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['SFSS_PORT'] + '/healthz', timeout=3)"]
ENTRYPOINT ["sfss"]
