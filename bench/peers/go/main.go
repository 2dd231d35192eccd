// A peer of the benchmark: net/http with the standard library only. It is built if Go is installed.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

type envelope struct {
	Error json.RawMessage `json:"error"`
	Data  json.RawMessage `json:"data"`
}

var (
	secret       = []byte(os.Getenv("SECRET"))
	adminControl = os.Getenv("ADMIN_CONTROL_URL")
	client       = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}}
)

// verify checks an HS256 token: its algorithm, its signature and its expiry.
func verify(token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("not a token")
	}
	var header struct{ Alg string }
	var claims struct{ Exp int64 }
	if err := decode(parts[0], &header); err != nil || header.Alg != "HS256" {
		return errors.New("not HS256")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, secret)
	io.WriteString(mac, token[:len(parts[0])+1+len(parts[1])])
	if !hmac.Equal(signature, mac.Sum(nil)) {
		return errors.New("not signed by us")
	}
	if err := decode(parts[1], &claims); err != nil || claims.Exp <= time.Now().Unix() {
		return errors.New("expired")
	}
	return nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func catchUp(room string) (*envelope, error) {
	request, err := http.NewRequest("GET", adminControl+"/call-catchup/"+url.PathEscape(room), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var result envelope
	body, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(body, &result)
	}
	if err == nil && (response.StatusCode != 200 || string(result.Error) != "null") {
		err = errors.New("Admin Control failed")
	}
	return &result, err
}

func callCatchUp(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	authorization := r.Header.Get("Authorization")
	if !strings.HasPrefix(authorization, "Bearer ") || verify(strings.TrimPrefix(authorization, "Bearer ")) != nil {
		w.WriteHeader(401)
		io.WriteString(w, `{"data":null,"error":{"code":401,"message":"Unauthorized"}}`)
		return
	}
	result, err := catchUp(strings.TrimPrefix(r.URL.Path, "/callCatchUp/"))
	if err != nil {
		w.WriteHeader(500)
		io.WriteString(w, `{"data":null,"error":{"code":500,"message":"Internal server error"}}`)
		return
	}
	body, _ := json.Marshal(result)
	w.Write(body)
}

func main() {
	http.HandleFunc("/callCatchUp/", callCatchUp)
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
