"""How does one job directory become a better model? The only room that imports torch and its family, and llama_cpp.

`python -m reactord.worker <stage> <job_dir>` runs one stage; each stage imports only what it uses.
"""
