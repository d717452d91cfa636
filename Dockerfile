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
# Longer than --drain-timeout when you stop it: docker stop -t 100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8255/healthz', timeout=2)"]
ENTRYPOINT ["sfss"]
CMD ["--host", "0.0.0.0", "--data", "/data", "--workers", "auto"]
