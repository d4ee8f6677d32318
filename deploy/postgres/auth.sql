-- Users and permissions of `mlflow server --app-name basic-auth` live beside what was tracked.
CREATE DATABASE auth;
