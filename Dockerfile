# docker build -t sfss . && docker run -p 8255:8255 -v sfss:/data sfss
FROM python:3.13-slim

WORKDIR /src
COPY setup.py README.rst ./
COPY sfss ./sfss
RUN pip install --no-cache-dir . && rm -rf /src && useradd --system sfss \
    && install -d -o sfss -g sfss /data

WORKDIR /data
USER sfss
VOLUME /data
EXPOSE 8255
ENV SFSS_HOST=0.0.0.0 SFSS_PORT=8255 SFSS_DATA=/data SFSS_WORKERS=auto
# When you stop it, give it longer than --drain-timeout: docker stop -t 100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD \
    ["python", "-c", "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['SFSS_PORT'])), 2)"]
ENTRYPOINT ["sfss"]
