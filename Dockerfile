# ewe with libtorch in a slim image.
#
#   docker build -t ewe .
#   docker run --rm -v "$PWD:/data" ewe init --db my.db
#   docker run --rm --gpus all -v "$PWD:/data" ewe train --db my.db --model MODEL --out tuned
#
# The torch wheel of the package index has CUDA 13, about 5 GB with its libraries. PIP_ARGUMENTS can
# name another index, such as PyTorch's own for the CPU. EWE_COMMIT is shown by `ewe --version`.

FROM python:3.12-slim-bookworm AS torch
ARG PIP_ARGUMENTS=""
RUN python -m venv --copies /opt/ewe \
    && /opt/ewe/bin/pip install --no-cache-dir --disable-pip-version-check $PIP_ARGUMENTS "torch==2.13.0"

FROM rust:1-bookworm AS build
ARG EWE_COMMIT=""
ENV EWE_COMMIT=$EWE_COMMIT
COPY --from=torch /opt/ewe/lib/python3.12/site-packages /opt/packages
ENV LIBTORCH=/opt/packages/torch
WORKDIR /ewe
COPY . .
RUN scripts/portable.sh cargo build --release --locked \
    && install -D -t /opt/bin target/release/ewe target/release/ewe-torch

FROM python:3.12-slim-bookworm
COPY --from=torch /opt/ewe /opt/ewe
COPY --from=build /opt/bin /opt/ewe/bin
ENV PATH=/opt/ewe/bin:$PATH
# The hub's cache; mount a volume here to keep models.
ENV HF_HOME=/models
RUN useradd --uid 1000 --create-home ewe \
    && install -d -o ewe -g ewe /data /models \
    && ewe --version && ewe doctor
USER ewe
WORKDIR /data
EXPOSE 8000 8017
ENTRYPOINT ["ewe"]
CMD ["--help"]
